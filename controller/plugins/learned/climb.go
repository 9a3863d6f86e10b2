package learned

import (
	"fmt"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/jobs/trainer/ladder"
	"github.com/self-scaling/self-scaling/schemas"
)

// climb rejects a resource whose history does not reach up to a forecaster's rung
// of the ladder.
func climb(forecaster string, c *framework.Candidate, r schemas.Resource, season int) *framework.Status {
	s := c.MeasuredSeries(r) // an event that is left out of the view was measured
	if s == nil || s.LastValid() < 0 {
		return framework.NewStatus(framework.Rejected, schemas.InsufficientData, fmt.Sprintf("%s: %s was never measured", ladder.Insufficient, r))
	}
	if ok, reason, message := ladder.Allows(forecaster, s, season, c.Now); !ok {
		return framework.NewStatus(framework.Rejected, reason, message)
	}
	return nil
}
