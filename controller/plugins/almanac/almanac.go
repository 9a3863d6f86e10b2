// Package almanac holds the plugin that lets calendars and time zones into the
// forecast cycle. Forecasters see each series by the clock on the wall and
// without what a calendar marks; what is marked ahead is forecast as it was on
// its earlier occurrences. See package jobs/calendar.
package almanac

import (
	"context"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/jobs/calendar"
	"github.com/self-scaling/self-scaling/schemas"
)

// Name is the plugin's name.
const Name = "Calendar"

// Calendar is the plugin. A program makes it with its calendars and passes it to
// runtime.New.
type Calendar struct {
	calendars *calendar.Calendars
}

var _ framework.ViewPlugin = (*Calendar)(nil)

// New returns the plugin. Nil calendars mark nothing.
func New(c *calendar.Calendars) *Calendar { return &Calendar{c} }

// Name returns [Name].
func (*Calendar) Name() string { return Name }

type lensKey struct{ resource schemas.Resource }

// View skips components whose service has neither a calendar nor a time zone.
func (p *Calendar) View(_ context.Context, state *framework.CycleState, c *framework.Candidate, r schemas.Resource, steps int) (*schemas.Series, int, *framework.Status) {
	lens := p.calendars.Of(c.Component.Service).Look(c.Series[r])
	if lens == nil {
		return nil, 0, framework.NewStatus(framework.Skip, schemas.NoForecast, "the service has no calendar and no time zone")
	}
	state.WriteWorking(lensKey{r}, lens)
	return lens.Seen(), lens.Steps(steps), nil
}

// Restore implements [framework.ViewPlugin].
func (p *Calendar) Restore(_ context.Context, state *framework.CycleState, _ *framework.Candidate, f *schemas.Forecast, steps int) (*schemas.Forecast, *framework.Status) {
	v, _ := state.Read(lensKey{f.Resource})
	lens, ok := v.(*calendar.Lens)
	if !ok {
		return nil, framework.AsStatus(schemas.Errorf(schemas.CodeInternal, "%s %s forecast must be of what was shown", f.Component, f.Resource))
	}
	state.Delete(lensKey{f.Resource})
	made, _ := lens.Forecast(f, steps)
	return made, nil
}
