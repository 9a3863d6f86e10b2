//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/api/client"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
)

// An event that a calendar announces is one that no other day foretells. The same past
// is forecast without the calendar and then, after an upgrade that names the ConfigMap
// of it, with it.
func TestCalendar(t *testing.T) {
	t.Parallel()
	const (
		usual, sale = .01, .06
		days        = 20
	)
	r := newRelease(t, newCluster(t))
	r.deploy(t, workload{name: "web", cpu: fmt.Sprint(requestCores), hpas: 1, load: "-base=.01 -peak=.01"})
	// It begins now; two earlier ones were at this time of other days of the week.
	now := time.Now().UTC().Truncate(15 * time.Minute)
	sales := []time.Time{now.AddDate(0, 0, -13), now.AddDate(0, 0, -5), now}
	const lasts = 6 * time.Hour
	r.seed(t, "seed", days, now, series{"shop", "web", func(at time.Time) float64 {
		for _, begin := range sales {
			if since := at.Sub(begin); since >= 0 && since < lasts {
				return sale
			}
		}
		return usual
	}})
	var ics strings.Builder
	ics.WriteString("BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//e2e//EN\n")
	for i, begin := range sales {
		const stamp = "20060102T150405Z"
		fmt.Fprintf(&ics, "BEGIN:VEVENT\nUID:%d\nDTSTAMP:%s\nDTSTART:%s\nDTEND:%s\nSUMMARY:Sale\nEND:VEVENT\n", i, begin.Format(stamp), begin.Format(stamp), begin.Add(lasts).Format(stamp))
	}
	ics.WriteString("END:VCALENDAR\n")
	r.kubectl(t, "", "create", "configmap", "sales", "--namespace="+r.namespace, "--from-literal=autumn.ics="+ics.String())

	values := []string{"controller.replicas=1", "training.onDemand=false", "schedules.collect.suspend=true", "schedules.train.suspend=true", "schedules.infer.suspend=true"}
	r.install(t, values...)
	token := r.operator(t)
	web := wire.ComponentID{Namespace: r.namespace, Service: "shop", Component: "web"}

	// decided runs infer and returns the median of the bucket that has begun, and the
	// least number of replicas then.
	decided := func(key string) (float64, int) {
		t.Helper()
		rest := r.rest(t, token) // an upgrade may have replaced the pod behind the one before
		started, err := rest.Start(t.Context(), wire.RunRequest{Pipeline: "infer"}, key)
		if err != nil {
			t.Fatal(err)
		}
		run, err := rest.Follow(t.Context(), started.ID, func(*wire.Run) {})
		if err != nil || !run.Phase.Done() || run.Phase != "Succeeded" {
			t.Fatalf("run %+v, %v; want it Succeeded", run, err)
		}
		var f *wire.Forecast
		eventually(t, "the REST interface has the forecast of run "+run.ID, time.Minute, func() error {
			if f, err = rest.Forecast(t.Context(), web, schemas.CPU); err == nil && f.Run != run.ID {
				err = fmt.Errorf("it is that of run %s", f.Run)
			}
			return err
		})
		floor, err := strconv.Atoi(r.get(t, "hpa/web-0", "{.spec.minReplicas}"))
		if err != nil {
			t.Fatal(err)
		}
		for d, err := range rest.Decisions(t.Context(), client.Query{}) {
			t.Logf("%s: %s %s, %v", key, d.Reason, d.Message, err)
			break
		}
		return f.Values[0][slices.Index(f.Levels, .5)], floor
	}
	median, floor := decided("without")
	t.Logf("FIGURE without the calendar: median %.3f cores, minReplicas %d", median, floor)
	if median > .03 || floor > 2 {
		t.Errorf("without a calendar %.3f cores are forecast and minReplicas is %d: the test proves nothing", median, floor)
	}
	r.upgrade(t, append(values, "calendars[0].service=shop", "calendars[0].kind=events", "calendars[0].configMap=sales", "calendars[0].key=autumn.ics")...)
	median, floor = decided("with")
	t.Logf("FIGURE with the calendar: median %.3f cores, minReplicas %d", median, floor)
	if median < .045 || floor < 3 {
		t.Errorf("with the calendar %.3f cores are forecast and minReplicas is %d, want what the sales before used", median, floor)
	}
}
