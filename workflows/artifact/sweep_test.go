package artifact_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/self-scaling/self-scaling/schemas"
	"github.com/self-scaling/self-scaling/workflows/artifact"
	"github.com/self-scaling/self-scaling/workflows/artifact/artifacttest"
	"github.com/self-scaling/self-scaling/workflows/artifact/membucket"
)

// A sweep that is stopped at any call leaves every kept head with its files, and
// the next sweep ends where an undisturbed one does.
func TestSweepCanStopAnywhere(t *testing.T) {
	now := time.Now()
	fill := func() *membucket.Bucket {
		b := membucket.New(nil)
		if err := runs(t.Context(), b, 6); err != nil {
			t.Fatal(err)
		}
		return b
	}
	sweep := func(b artifact.Bucket) error {
		s := artifact.New(b, artifact.Options{Clock: clocktesting.NewFakePassiveClock(now.Add(72 * time.Hour))})
		_, err := s.Sweep(t.Context(), artifact.SweepOptions{
			Heads: map[schemas.Pipeline]int{schemas.SamplesHead: 2}, Runs: 49 * time.Hour, Grace: 48 * time.Hour,
		})
		return err
	}
	undisturbed := fill()
	counter := artifacttest.NewFaults(undisturbed, -1, 0)
	if err := sweep(counter); err != nil {
		t.Fatal(err)
	}
	want := artifacttest.Contents(t, undisturbed)
	if err := artifacttest.CheckStore(t.Context(), undisturbed, ""); err != nil {
		t.Fatal(err)
	}
	if len(want) >= len(artifacttest.Contents(t, fill())) {
		t.Fatal("the sweep deleted nothing")
	}
	for call := range counter.Calls() {
		for _, fault := range []artifacttest.Fault{artifacttest.CutBefore, artifacttest.CutAfter} {
			b := fill()
			if err := sweep(artifacttest.NewFaults(b, call, fault)); err == nil && call < counter.Calls()-1 {
				t.Errorf("sweep whose call %d %s reports no error", call, fault)
			}
			// Every head and manifest that is left still has its files.
			if err := artifacttest.CheckStore(t.Context(), b, ""); err != nil {
				t.Fatalf("sweep whose call %d %s: a reader then found: %v", call, fault, err)
			}
			if err := sweep(b); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, artifacttest.Contents(t, b)); diff != "" {
				t.Fatalf("sweep whose call %d %s: objects after the next (-want +got):\n%s", call, fault, diff)
			}
		}
	}
}

// A writer that stores content which is there already, from long ago, and which
// nothing refers to, must not lose it to a sweep before it can commit it.
func TestSweepSparesWhatIsStoredAnew(t *testing.T) {
	clock := clocktesting.NewFakeClock(day)
	b := membucket.New(clock)
	s := artifact.New(b, artifact.Options{Clock: clock})
	put := func() artifact.File {
		t.Helper()
		f, err := s.PutFile(t.Context(), "samples", day, "parquet", []byte("the same again"), artifact.FileMeta{})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := put()
	clock.Step(72 * time.Hour)

	for _, test := range []struct {
		name  string
		sweep func() (artifact.SweepReport, error)
	}{
		{"before the sweep", func() (artifact.SweepReport, error) {
			put()
			return s.Sweep(t.Context(), artifact.DefaultSweepOptions())
		}},
		{"between the sweep's listing and its deletion", func() (artifact.SweepReport, error) {
			clock.Step(72 * time.Hour)
			// The sweep lists the heads once more when it reads what is referred to.
			listed := 0
			hooked := hooked{Bucket: b, list: func(prefix string) {
				if prefix == "heads/" {
					if listed++; listed == 2 {
						put()
					}
				}
			}}
			return artifact.New(hooked, artifact.Options{Clock: clock}).Sweep(t.Context(), artifact.DefaultSweepOptions())
		}},
	} {
		report, err := test.sweep()
		if err != nil {
			t.Fatal(err)
		}
		if report.Young != 1 || len(report.Deleted) > 0 {
			t.Errorf("stored anew %s: report is %+v, want the file to be young", test.name, report)
		}
		if _, err := s.GetFile(t.Context(), f); err != nil {
			t.Errorf("stored anew %s: %v", test.name, err)
		}
	}
	clock.Step(72 * time.Hour)
	if report, err := s.Sweep(t.Context(), artifact.DefaultSweepOptions()); err != nil || len(report.Deleted) != 1 {
		t.Errorf("never committed: report is %+v (%v), want the file to be deleted", report, err)
	}
}

// hooked calls list before each listing.
type hooked struct {
	artifact.Bucket
	list func(prefix string)
}

func (h hooked) List(ctx context.Context, prefix string, yield func(artifact.ObjectInfo) bool) error {
	h.list(prefix)
	return h.Bucket.List(ctx, prefix, yield)
}

func TestSweepReportsWhatItCannotRead(t *testing.T) {
	clock := clocktesting.NewFakeClock(day)
	b := membucket.New(clock)
	s := artifact.New(b, artifact.Options{Clock: clock})
	for i := range 5 {
		clock.Step(72 * time.Hour)
		if err := artifacttest.Run(t.Context(), s, i); err != nil {
			t.Fatal(err)
		}
	}
	clock.Step(72 * time.Hour)
	invalid := []string{schemas.HeadKey(schemas.SamplesHead, 5), schemas.HeadKey(schemas.SamplesHead, 4), schemas.ManifestKey("run-000004", "collect", "0001")}
	for _, key := range invalid {
		if err := b.Put(t.Context(), key, []byte("damaged")); err != nil {
			t.Fatal(err)
		}
	}
	clock.Step(49 * time.Hour)
	report, err := s.Sweep(t.Context(), artifact.SweepOptions{Heads: map[schemas.Pipeline]int{schemas.SamplesHead: 2}, Runs: 1000 * time.Hour, Grace: 48 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(invalid, report.Invalid); diff != "" {
		t.Errorf("unreadable (-want +got):\n%s", diff)
	}
	// Damaged heads do not count among those that are kept.
	var numbers []uint64
	for h, err := range s.Heads(t.Context(), schemas.SamplesHead) {
		if err != nil {
			t.Fatal(err)
		}
		if err := s.VerifyHead(t.Context(), h); err != nil {
			t.Error(err)
		}
		numbers = append(numbers, h.Number)
	}
	if diff := cmp.Diff([]uint64{3, 2}, numbers); diff != "" {
		t.Errorf("heads that are left (-want +got):\n%s", diff)
	}
	// The number of the newest is never given twice.
	h, _, err := s.Advance(t.Context(), schemas.SamplesHead, "next", func(*artifact.Head) (artifact.Manifest, error) {
		return artifact.Manifest{Kind: "samples"}, nil
	})
	if err != nil || h.Number != 6 {
		t.Errorf("the next head has number %d (%v), want 6", h.Number, err)
	}
}

// Heads within their grace stay with their files, however many there are: a
// reader may just be following one.
func TestSweepSparesYoungHeads(t *testing.T) {
	clock := clocktesting.NewFakeClock(day)
	b := membucket.New(clock)
	s := artifact.New(b, artifact.Options{Clock: clock})
	old, err := s.PutFile(t.Context(), "samples", day, "parquet", []byte("old"), artifact.FileMeta{})
	if err != nil {
		t.Fatal(err)
	}
	clock.Step(100 * time.Hour)
	for i := range 5 {
		_, _, err := s.Advance(t.Context(), schemas.SamplesHead, fmt.Sprint("run-", i), func(*artifact.Head) (artifact.Manifest, error) {
			m := artifact.Manifest{Kind: "samples"}
			if i == 0 {
				m.Files = []artifact.File{old}
			}
			return m, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	options := artifact.SweepOptions{Heads: map[schemas.Pipeline]int{schemas.SamplesHead: 1}, Grace: 48 * time.Hour}
	if report, err := s.Sweep(t.Context(), options); err != nil || len(report.Deleted) > 0 {
		t.Errorf("report is %+v (%v), want nothing to be deleted", report, err)
	}
	clock.Step(49 * time.Hour)
	if report, err := s.Sweep(t.Context(), options); err != nil || len(report.Deleted) != 5 {
		t.Errorf("report is %+v (%v), want four heads and the file to be deleted", report, err)
	}
}

func TestSweepOptions(t *testing.T) {
	s := artifact.New(membucket.New(nil), artifact.Options{})
	for _, test := range []struct {
		name string
		edit func(*artifact.SweepOptions)
		want string
	}{
		{"no head of a pipeline", func(o *artifact.SweepOptions) { o.Heads[schemas.ModelsHead] = 0 }, "heads of models to keep must be at least 1, but are 0"},
		{"a negative age of runs", func(o *artifact.SweepOptions) { o.Runs = -1 }, "age of runs to keep must not be negative"},
		{"hardly any grace", func(o *artifact.SweepOptions) { o.Grace = time.Minute }, "grace must be at least 1h0m0s, but is 1m0s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := artifact.DefaultSweepOptions()
			test.edit(&o)
			_, err := s.Sweep(t.Context(), o)
			if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}
