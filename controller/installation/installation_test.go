package installation_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/controller/installation"
	"github.com/self-scaling/self-scaling/schemas"
)

func TestWhatTheChartWritesIsUnderstood(t *testing.T) {
	i, err := installation.Read(filepath.Join("testdata", "argo.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if time.Duration(i.Backfill) != 28*24*time.Hour || *i.Training.OnDemand != true {
		t.Errorf("backfill %s, training on demand %t", i.Backfill, *i.Training.OnDemand)
	}
	plans, err := i.Plans()
	if err != nil {
		t.Fatal(err)
	}
	if len(plans) != 2 || plans["collect"].Deadline != 10*time.Minute || plans["collect"].Suspend || !plans["train"].Suspend {
		t.Errorf("plans are %+v, want those of collect and, suspended, of train", plans)
	}
	i, err = installation.Read(filepath.Join("testdata", "jobs.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	j := i.Jobs["collector"]
	if j.Resources.Requests.Memory().Value() != 64<<20 || time.Duration(j.Timeout) != 5*time.Minute || len(j.Args) != 2 ||
		i.Env[0].ValueFrom.SecretKeyRef.Name != "self-scaling-s3" || i.Tolerations[0].Key != "batch" {
		t.Errorf("installation is %+v", i)
	}
}

func TestAnInstallationThatCannotWorkIsRefused(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "jobs.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, old, new, want string }{
		{"a key that is not known", "parallelism: 8", "paralelism: 8", `unknown field "paralelism"`},
		{"a key given twice", "parallelism: 8", "parallelism: 8\nparallelism: 9", `key "parallelism" already set in map`},
		{"no name", "name: self-scaling\n", "", `name must be 1 to 36 lower-case letters, digits and '-', beginning and ending with a letter or a digit, but is ""`},
		{"another engine", "engine: jobs", "engine: tekton", `engine must be argo or jobs, but is "tekton"`},
		{"a cron expression that is none", `["*/15 * * * *"]`, `["hourly"]`, `schedules.collect: cron expression must have five fields, but is "hourly"`},
		{"no cron expression", `["*/15 * * * *"]`, `[]`, `schedules.collect: cron must have at least one expression`},
		{"a slot made up for days later", `["*/15 * * * *"]`, `["*/15 * * * *"], startingDeadlineSeconds: 90000`, `schedules.collect.startingDeadlineSeconds must be from 1 to 43200, or 0 for 600, but is 90000`},
		{"a duration without a unit", "timeout: 300s", "timeout: 300", `a duration must be a string such as "15m", but is 300`},
		{"backfill from nowhere", "parallelism: 8", "backfill: 24h", `backfill must be 0s where there is no prometheus to ask, but is 24h0m0s`},
		{"no URL of Prometheus", "parallelism: 8", "prometheus: prometheus:9090", `prometheus must be a URL as http://prometheus.monitoring:9090, without a user`},
		{"training all the time", "parallelism: 8", "training: {interval: 1m}", `training.interval must be from 1h to 168h, but is 1m0s`},
		{"a sweep at no time", "parallelism: 8", "retention: {cron: [nightly]}", `retention: cron expression must have five fields, but is "nightly"`},
		{"what a run still needs", "parallelism: 8", "retention: {grace: 30m}", `retention: grace must be at least 1h0m0s, but is 30m0s`},
		{"runs that end before their grace", "parallelism: 8", "retention: {runs: 24h}", `retention.runs must be at least retention.grace, 48h0m0s, but is 24h0m0s`},
		{"fewer models than none", "parallelism: 8", "retention: {models: -1}", `retention.models must be at least 1, or 0 for 31, but is -1`},
		{"too many pods", "parallelism: 8", "parallelism: 5000", `parallelism must be from 1 to 1000, or 0 for 4, but is 5000`},
		{"a program that is none", "  dataset: {", "  datasets: {", `jobs must be those of [collector dataset trainer inference], but has "datasets"`},
		{"a program without an image", "dataset: {image: registry.example/dataset:v1}", "dataset: {}", `jobs.dataset.image must be given`},
		{"a program that is missing", "  dataset: {image: registry.example/dataset:v1}\n", "", `jobs.dataset must be given where the engine is jobs`},
		{"a pull policy that is none", "imagePullPolicy: IfNotPresent", "imagePullPolicy: Sometimes", `jobs.collector.imagePullPolicy must be Always, IfNotPresent or Never, but is "Sometimes"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed := strings.Replace(string(data), tt.old, tt.new, 1)
			if changed == string(data) {
				t.Fatalf("%q is not there", tt.old)
			}
			_, err := installation.Parse([]byte(changed))
			if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestAPasswordIsNotRepeated(t *testing.T) {
	_, err := installation.Parse([]byte("name: a\nengine: argo\nprometheus: http://me:secret@prometheus\n"))
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}

func TestWhatTheStoreKeeps(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		models     int
		grace      time.Duration
		sweeps     bool
	}{
		{"nothing said", "", 31, 48 * time.Hour, true},
		{"models", "retention: {models: 7, grace: 24h}", 7, 24 * time.Hour, true},
		{"everything", "retention: {enabled: false}", 31, 48 * time.Hour, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i, err := installation.Parse([]byte("name: a\nengine: argo\n" + tt.text))
			if err != nil {
				t.Fatal(err)
			}
			o, s, sweeps, err := i.Sweep()
			if err != nil || sweeps != tt.sweeps || o.Heads[schemas.ModelsHead] != tt.models || o.Grace != tt.grace {
				t.Errorf("%+v, %t, %v", o, sweeps, err)
			}
			night := time.Date(2026, 3, 9, 0, 0, 0, 0, time.UTC)
			if want := night.Add(150 * time.Minute); sweeps && !s.Next(night).Equal(want) {
				t.Errorf("the next sweep is at %s, want %s", s.Next(night), want)
			}
		})
	}
}
