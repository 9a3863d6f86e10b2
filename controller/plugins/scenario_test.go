package plugins_test

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/self-scaling/self-scaling/controller/framework"
	"github.com/self-scaling/self-scaling/controller/framework/runtime"
	"github.com/self-scaling/self-scaling/controller/plugins"
	"github.com/self-scaling/self-scaling/controller/plugins/manifest"
	"github.com/self-scaling/self-scaling/controller/replicas"
	"github.com/self-scaling/self-scaling/schemas"
)

var rewrite = flag.Bool("rewrite", false, "write what the scenarios in testdata print into them")

// TestScenarios plays the stories in testdata: from usage through the plugins
// of the profiles to decisions. A line is a command, the lines after "----" are
// what it prints.
//
//	profile NAME [PLUGIN={args}]...      which profile decides from here on
//	component NAME [key=value]...        mode, min, max, quantile, hold, maxstep, leadtime,
//	                                     cpu and memory (requests), conflict, room, replicas
//	usage NAME RESOURCE VALUES           quarter hours that end now: "2x96" is a day of 2,
//	                                     "1..5" a rise over a day, "-x8" a gap of two hours
//	wait DURATION                        time passes
//	run [NAME]...                        decides, for all components unless named
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s differs; run with -rewrite and look at the difference. It prints\n%s", file, got)
			}
		})
	}
}

type scenario struct {
	t          *testing.T
	now        time.Time
	framework  *runtime.Framework
	candidates map[string]*framework.Candidate
	order      []string
	runs       int
}

func play(t *testing.T, script string) string {
	s := &scenario{t: t, now: now, candidates: make(map[string]*framework.Candidate)}
	var out strings.Builder
	lines := strings.Split(strings.TrimSuffix(script, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		out.WriteString(lines[i] + "\n")
		if lines[i] == "" || strings.HasPrefix(lines[i], "#") {
			continue
		}
		printed := s.command(strings.Fields(lines[i]))
		if i+1 < len(lines) && lines[i+1] == "----" {
			for i++; i+1 < len(lines) && lines[i+1] != ""; i++ {
			}
		}
		if printed != "" {
			out.WriteString("----\n" + printed)
		}
	}
	return out.String()
}

func (s *scenario) command(words []string) string {
	s.t.Helper()
	switch words[0] {
	case "profile":
		return s.profile(words[1], words[2:])
	case "component":
		s.component(words[1], words[2:])
	case "usage":
		s.usage(words[1], schemas.Resource(words[2]), words[3:])
	case "wait":
		d, err := time.ParseDuration(words[1])
		s.check(err)
		s.now = s.now.Add(d)
		for _, c := range s.candidates {
			c.Now = s.now
		}
	case "run":
		return s.run(words[1:])
	default:
		s.t.Fatalf("unknown command %q", words[0])
	}
	return ""
}

func (s *scenario) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scenario) profile(name string, args []string) string {
	p, err := plugins.Profile(name)
	s.check(err)
	p.Plugins = slices.DeleteFunc(p.Plugins, func(p string) bool { return p == schemas.Bank || p == schemas.Network || p == schemas.Hedge })
	for _, a := range args {
		plugin, value, _ := strings.Cut(a, "=")
		p.Args[plugin] = []byte(value)
	}
	s.framework, err = runtime.New(plugins.NewRegistry(), p, runtime.Options{
		Plugins: []framework.Plugin{manifest.New(func(schemas.ComponentID, *autoscalingv2.HorizontalPodAutoscaler) error { return nil })},
	})
	if err != nil {
		return err.Error() + "\n"
	}
	return ""
}

func (s *scenario) component(name string, settings []string) {
	c := s.candidates[name]
	if c == nil {
		c = &framework.Candidate{
			Component: schemas.ComponentID{Service: "web", Component: name}, Now: s.now, Policy: schemas.DefaultPolicy(),
			Series: make(map[schemas.Resource]*schemas.Series), Requests: make(schemas.Requests),
		}
		c.Policy.Mode, c.Policy.MinReplicas = schemas.Auto, 2
		s.candidates[name] = c
		s.order = append(s.order, name)
	}
	target := func() *framework.Target {
		if c.Target == nil {
			c.Target = &framework.Target{APIVersion: "apps/v1", Kind: "Deployment", Name: "web-" + name, Scalable: true}
		}
		return c.Target
	}
	for _, setting := range settings {
		key, value, _ := strings.Cut(setting, "=")
		number, _ := strconv.ParseFloat(value, 64)
		duration, _ := time.ParseDuration(value)
		switch key {
		case "mode":
			c.Policy.Mode = schemas.Mode(value)
		case "min":
			c.Policy.MinReplicas = int32(number)
		case "max":
			c.Policy.MaxReplicas = int32(number)
		case "quantile":
			c.Policy.Quantile = number
		case "hold":
			c.Policy.Hold = duration
		case "maxstep":
			c.Policy.MaxStep = int32(number)
		case "leadtime":
			c.Policy.LeadTime = duration
		case "cpu":
			c.Requests[schemas.CPU] = number
		case "memory":
			c.Requests[schemas.Memory] = number
		case "conflict":
			target().Conflict = value
		case "room":
			room := int32(number)
			target().CapacityLeft = &room
		case "replicas":
			target().CurrentReplicas = int32(number)
		default:
			s.t.Fatalf("unknown setting %q", key)
		}
	}
}

func (s *scenario) usage(name string, r schemas.Resource, runs []string) {
	var values []float64
	for _, run := range runs {
		if from, to, ok := strings.Cut(run, ".."); ok {
			a, err := strconv.ParseFloat(from, 64)
			s.check(err)
			b, err := strconv.ParseFloat(to, 64)
			s.check(err)
			for i := range day {
				values = append(values, a+(b-a)*float64(i)/day)
			}
			continue
		}
		text, count, _ := strings.Cut(run, "x")
		n, err := strconv.Atoi(count)
		s.check(err)
		v := math.NaN()
		if text != "-" {
			v, err = strconv.ParseFloat(text, 64)
			s.check(err)
		}
		values = append(values, slices.Repeat([]float64{v}, n)...)
	}
	c := s.candidates[name]
	c.Series[r] = &schemas.Series{Component: c.Component, Resource: r, Step: schemas.DefaultStep, Mean: values,
		Start: s.now.Add(-time.Duration(len(values)) * schemas.DefaultStep)}
}

func (s *scenario) run(names []string) string {
	if len(names) == 0 {
		names = s.order
	}
	var candidates []*framework.Candidate
	for _, name := range names {
		candidates = append(candidates, s.candidates[name])
	}
	s.runs++
	var out bytes.Buffer
	for _, r := range s.framework.Run(s.t.Context(), fmt.Sprintf("run-%d", s.runs), candidates) {
		d := r.Decision
		if floor, err := replicas.Recompute(d); err != nil || floor != d.MinReplicas {
			s.t.Errorf("Recompute = %d, %v; want %d", floor, err, d.MinReplicas)
		}
		applied := ""
		if d.Applied {
			applied = " applied"
		}
		fmt.Fprintf(&out, "%s %d..%d %s%s\n  %s\n", d.Component.Component, d.MinReplicas, d.MaxReplicas, d.Reason, applied, d.Message)
		r.Candidate.Previous = d
	}
	return out.String()
}
