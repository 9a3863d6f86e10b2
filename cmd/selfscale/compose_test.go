package main

import (
	"bytes"
	"context"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/cli"
	"github.com/self-scaling/self-scaling/workflows"
	"github.com/self-scaling/self-scaling/workflows/artifact/s3bucket"
)

// composition is what is looked at of compose.yaml.
type composition struct {
	Services map[string]struct {
		Image       string
		Command     []string
		Environment map[string]string
		Ports       []string
		Volumes     []string
		Build       *struct{ Dockerfile, Target string }
		DependsOn   map[string]struct{ Condition string } `json:"depends_on"`
		Healthcheck *struct{ Test []string }
	}
	Volumes map[string]struct{}
}

// No part of compose.yaml is run here: what it says of others must be there.
func TestCompose(t *testing.T) {
	data, err := os.ReadFile("../../compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c composition
	if err := yaml.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	pinned := regexp.MustCompile(`:RELEASE\.\d{4}-\d\d-\d\dT[\d-]+Z$`)
	for name, s := range c.Services {
		switch {
		case s.Build == nil && !pinned.MatchString(s.Image):
			t.Errorf("service %s: image %s must have a version", name, s.Image)
		case s.Build != nil:
			file, err := os.ReadFile("../../" + s.Build.Dockerfile)
			if err != nil || !strings.Contains(string(file), " AS "+s.Build.Target+"\n") {
				t.Errorf("service %s: %s has no stage %s (%v)", name, s.Build.Dockerfile, s.Build.Target, err)
			}
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("service %s: port %s must be published on this machine alone", name, p)
			}
		}
		for on, d := range s.DependsOn {
			if _, ok := c.Services[on]; !ok || d.Condition == "service_healthy" && c.Services[on].Healthcheck == nil {
				t.Errorf("service %s depends on %s, which is not there or cannot say that it is healthy", name, on)
			}
		}
		for _, v := range s.Volumes {
			if volume, _, _ := strings.Cut(v, ":"); !strings.HasPrefix(volume, "$") {
				if _, ok := c.Volumes[volume]; !ok {
					t.Errorf("service %s: there is no volume %s", name, volume)
				}
			}
		}
	}
	for _, name := range []string{"selfscale", "demo"} {
		args := c.Services[name].Command
		var out bytes.Buffer
		engine := cli.Engine{Serve: func(context.Context, cli.ServeOptions, cli.Console) error { return nil }}
		if code := cli.Main(engine, "", args, &out, &out); code != workflows.ExitOK {
			t.Errorf("service %s: selfscale %s ends with %d: %s", name, strings.Join(args, " "), code, &out)
		}
	}
	for _, arg := range c.Services["selfscale"].Command {
		if location, ok := strings.CutPrefix(arg, "--data="); ok {
			if !strings.HasPrefix(location, "s3://self-scaling?") || !strings.Contains(strings.Join(c.Services["bucket"].Command, "\n"), "store/self-scaling\n") {
				t.Errorf("the bucket of %s is not the one that is made", location)
			}
			for name := range c.Services["selfscale"].Environment {
				t.Setenv(name, "given")
			}
			u, err := url.Parse(location)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s3bucket.Open(t.Context(), u); err != nil { // asks nobody
				t.Error(err)
			}
		}
	}
}
