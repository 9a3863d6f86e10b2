package tracing

import (
	"context"
	"os"

	"github.com/self-scaling/self-scaling/jobs"
	"github.com/self-scaling/self-scaling/workflows"
)

// Step returns the step of a program with its trace, as a part of that of its run,
// which the variable [workflows.TraceVariable] names. Where the environment does not
// ask for traces it is the step alone.
func Step(program string, step jobs.Func) jobs.Func {
	return func(ctx context.Context, env jobs.Env) error {
		if !Configured() {
			return step(ctx, env)
		}
		tracer, err := Start(ctx, "self-scaling-"+program, env.Version, env.Log)
		if err != nil {
			return err
		}
		defer func() {
			if err := tracer.Close(); err != nil {
				env.Log.WarnContext(ctx, "traces are lost", "error", err)
			}
		}()
		inside, end := tracer.Runs().Step(ctx, os.Getenv(workflows.TraceVariable), env.Run, program, env.Shard)
		err = jobs.Call(inside, step, env) // which makes an error of a panic
		end(err)
		return err
	}
}
