package record_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/artifacttest"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
	"github.com/self-scaling/self-scaling/workflows/record"
)

var noon = time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)

// ended is a run that ended a given time after noon.
func ended(id string, after time.Duration, change ...func(*workflows.Run)) workflows.Run {
	end := noon.Add(after)
	r := workflows.Run{
		ID: id, Pipeline: "collect", Phase: workflows.Succeeded, Submitted: end.Add(-time.Minute), Finished: &end,
		Steps: []workflows.StepRecord{{Step: "collector", Phase: workflows.Succeeded, Attempts: 1}},
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

func failed(r *workflows.Run)     { r.Phase = workflows.Failed }
func ofTraining(r *workflows.Run) { r.Pipeline = "train" }
func unknown(r *workflows.Run)    { r.Steps[0].Attempts = 0 }

func open(t *testing.T, runs ...workflows.Run) (*membucket.Bucket, *artifact.Store) {
	t.Helper()
	b := membucket.New(nil)
	s := artifact.New(b, artifact.Options{})
	for _, r := range runs {
		if err := record.Write(t.Context(), s, "v1", r); err != nil {
			t.Fatal(err)
		}
	}
	return b, s
}

func ids(runs []workflows.Run) (out []string) {
	for _, r := range runs {
		out = append(out, r.ID)
	}
	return out
}

func TestGetReturnsTheRecordToBelieve(t *testing.T) {
	for _, tt := range []struct {
		name string
		runs []workflows.Run
		want workflows.Run
	}{
		{"the only one", []workflows.Run{ended("a", 0)}, ended("a", 0)},
		{"of a run that was retried, the later end", []workflows.Run{ended("a", time.Hour), ended("a", 0, failed)}, ended("a", time.Hour)},
		{"of one end, the one that knows more", []workflows.Run{ended("a", 0, unknown), ended("a", 0)}, ended("a", 0)},
		{"of its own run, whatever others begin alike", []workflows.Run{ended("a", 0), ended("a-b", time.Hour)}, ended("a", 0)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, s := open(t, tt.runs...)
			got, err := record.NewReader(s).Get(t.Context(), "a")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
		})
	}
}

func TestListReturnsWhatEndedLastFirst(t *testing.T) {
	_, s := open(t,
		ended("morning", -3*time.Hour), ended("evening", 6*time.Hour, failed), ended("yesterday", -20*time.Hour),
		ended("night", -11*time.Hour, ofTraining), ended("retried", -4*time.Hour, failed), ended("retried", time.Hour),
		ended("last-week", -7*24*time.Hour),
	)
	two := record.ListOptions{From: noon.Add(-24 * time.Hour), To: noon}
	with := func(o workflows.ListOptions) record.ListOptions { return record.ListOptions{o, two.From, two.To} }
	for _, tt := range []struct {
		name string
		o    record.ListOptions
		want []string
	}{
		{"within the days asked for", two, []string{"evening", "retried", "morning", "night", "yesterday"}},
		{"on one day", record.ListOptions{From: noon, To: noon}, []string{"evening", "retried", "morning", "night"}},
		{"of one pipeline", with(workflows.ListOptions{Pipeline: "train"}), []string{"night"}},
		{"in one phase, by the record to believe", with(workflows.ListOptions{Phase: workflows.Failed}), []string{"evening"}},
		{"at most so many", with(workflows.ListOptions{Limit: 2}), []string{"evening", "retried"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := record.NewReader(s).List(t.Context(), tt.o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, ids(got)); diff != "" {
				t.Errorf("runs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestListAgainReadsOnlyWhatIsNew(t *testing.T) {
	b := membucket.New(nil)
	counter := artifacttest.NewFaults(b, -1, 0)
	s := artifact.New(counter, artifact.Options{})
	for i := range 20 {
		if err := record.Write(t.Context(), s, "v1", ended(fmt.Sprint("run-", i), 0)); err != nil {
			t.Fatal(err)
		}
	}
	r := record.NewReader(s)
	list := func() (calls int) {
		before := counter.Calls()
		runs, err := r.List(t.Context(), record.ListOptions{From: noon, To: noon})
		if err != nil || len(runs) < 20 {
			t.Fatalf("%d runs, %v", len(runs), err)
		}
		return counter.Calls() - before
	}
	if got := list(); got != 21 {
		t.Errorf("%d calls of the store the first time, want a listing and 20 reads", got)
	}
	if err := record.Write(t.Context(), s, "v1", ended("new", 0)); err != nil {
		t.Fatal(err)
	}
	if got := list(); got != 2 {
		t.Errorf("%d calls of the store the second time, want a listing and one read", got)
	}
}

func TestARecordIsWrittenOnce(t *testing.T) {
	b, s := open(t, ended("a", 0))
	before := artifacttest.Contents(t, b)
	for _, version := range []string{"v1", "v2"} {
		if err := record.Write(t.Context(), s, version, ended("a", 0)); err != nil {
			t.Errorf("again, by %s: %v", version, err)
		}
	}
	if diff := cmp.Diff(before, artifacttest.Contents(t, b)); diff != "" {
		t.Errorf("the store has changed (-before +after):\n%s", diff)
	}
}

func TestWhatIsNoRecordIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  workflows.Run
		code schemas.Code
	}{
		{"a run that goes on", ended("a", 0, func(r *workflows.Run) { r.Phase = workflows.Running }), schemas.CodeInvalidData},
		{"a run without an end", ended("a", 0, func(r *workflows.Run) { r.Finished = nil }), schemas.CodeInvalidData},
		{"a run-id that is none", ended("../a", 0), schemas.CodeInvalidConfig},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, s := open(t)
			if err := record.Write(t.Context(), s, "v1", tt.run); schemas.CodeOf(err) != tt.code {
				t.Errorf("error %v, want code %s", err, tt.code)
			}
		})
	}
}

func TestADamagedRecordIsLeftOut(t *testing.T) {
	b, s := open(t, ended("a", 0), ended("b", time.Hour))
	files, err := s.Files(t.Context(), "records", noon)
	if err != nil || len(files) != 2 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	if err := b.Put(t.Context(), files[0].Key, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	runs, err := record.NewReader(s).List(t.Context(), record.ListOptions{From: noon, To: noon})
	if err != nil || len(runs) != 1 {
		t.Errorf("%v, %v; want the other one", ids(runs), err)
	}
}

func TestARunWithoutARecordIsNotFound(t *testing.T) {
	_, s := open(t, ended("a", 0))
	if _, err := record.NewReader(s).Get(t.Context(), "b"); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("error %v, want one that wraps %v", err, artifact.ErrNotFound)
	}
}

func TestRecordsGoWithTheirRun(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(noon)
	b := membucket.New(clock)
	s := artifact.New(b, artifact.Options{Clock: clock})
	if err := record.Write(t.Context(), s, "v1", ended("a", 0)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		after time.Duration
		want  int // objects
	}{{13 * 24 * time.Hour, 2}, {15 * 24 * time.Hour, 0}} {
		clock.SetTime(noon.Add(tt.after))
		if _, err := s.Sweep(t.Context(), artifact.DefaultSweepOptions()); err != nil {
			t.Fatal(err)
		}
		if got := len(artifacttest.Contents(t, b)); got != tt.want {
			t.Errorf("%d objects after %s, want %d", got, tt.after, tt.want)
		}
	}
}
