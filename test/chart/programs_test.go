package chart_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/controller/installation"
)

// What the chart tells programs, and what these understand.

// knownFlags asks a program, or one of its subcommands, which flags it has.
func knownFlags(t *testing.T, program string, command ...string) []string {
	t.Helper()
	args := append([]string{"run", "-trimpath", "./cmd/" + program}, append(command, "--help")...)
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	var flags []string
	for _, m := range regexp.MustCompile(`(?m)^ +(?:-[a-z], )?--?([a-z-]+)`).FindAllStringSubmatch(string(out), -1) {
		flags = append(flags, m[1])
	}
	return flags
}

var isFlag = regexp.MustCompile(`^--?([a-z-]+)(=|$)`)

func TestEveryProgramKnowsTheFlagsThatItIsGiven(t *testing.T) {
	given := map[string]map[string]bool{} // by program and subcommand
	add := func(c *corev1.Container) {
		key := filepath.Base(c.Command[0])
		args := c.Args
		if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
			key, args = key+" "+args[0], args[1:]
		}
		if given[key] == nil {
			given[key] = map[string]bool{}
		}
		for _, arg := range args {
			m := isFlag.FindStringSubmatch(arg)
			if m == nil {
				t.Errorf("%s: argument %q is no flag", key, arg)
				continue
			}
			given[key][m[1]] = true
		}
	}
	for name, values := range installations {
		if strings.Contains(values, "-v=2") || strings.Contains(values, "step settings") {
			continue // flags of somebody else's
		}
		objects, _, err := render(t, values)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, o := range objects {
			for _, pod := range pods(t, o) {
				for i := range pod.Spec.Containers {
					if c := &pod.Spec.Containers[i]; len(c.Command) > 0 {
						add(c)
					}
				}
			}
			if o.GetKind() == "ConfigMap" {
				if i := installed(t, o); i != nil {
					for program, j := range i.Jobs {
						add(&corev1.Container{Command: []string{"/bin/" + program}, Args: j.Args})
					}
				}
			}
		}
	}
	n := 0
	for key, flags := range given {
		program, command, _ := strings.Cut(key, " ")
		known := knownFlags(t, program, strings.Fields(command)...)
		for f := range flags {
			n++
			if !slices.Contains(known, f) {
				t.Errorf("%s is given the flag -%s, but knows only %v", key, f, known)
			}
		}
	}
	if n < 40 {
		t.Errorf("only %d flags were looked at", n)
	}
}

// TestEveryImageKnowsItsVersion: what the images are built with is what their
// programs say, though nothing is known of the repository in there.
func TestEveryImageKnowsItsVersion(t *testing.T) {
	n := 0
	for _, file := range []string{"Dockerfile.collector", "Dockerfile.trainer"} {
		data, err := os.ReadFile(filepath.Join("..", "..", file))
		if err != nil {
			t.Fatal(err)
		}
		programs := regexp.MustCompile(`RUN for name in (.*); do`).FindStringSubmatch(string(data))
		told := regexp.MustCompile(`-X (\S+)=\$\{VERSION\}`).FindStringSubmatch(string(data))
		if programs == nil || told == nil {
			t.Fatalf("%s builds no program, or tells it no version", file)
		}
		for _, name := range strings.Fields(programs[1]) {
			n++
			cmd := exec.CommandContext(t.Context(), "go", "run", "-trimpath", "-buildvcs=false", "-ldflags", "-X "+told[1]+"=v1.2.3-test", "./cmd/"+name, "--version")
			cmd.Dir = filepath.Join("..", "..")
			if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), name+" v1.2.3-test") {
				t.Errorf("%s --version prints %q, %v", name, out, err)
			}
		}
	}
	if n != 7 {
		t.Errorf("%d programs were asked, want 7", n)
	}
}

// installed returns what a ConfigMap says of the installation, nil where it says
// nothing.
func installed(t *testing.T, o *unstructured.Unstructured) *installation.Installation {
	t.Helper()
	text, ok, err := unstructured.NestedString(o.Object, "data", "installation.yaml")
	if err != nil || !ok {
		return nil
	}
	i, err := installation.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v\n%s", id(o), err, text)
	}
	return i
}

func TestProgramsUnderstandTheInstallation(t *testing.T) {
	n := 0
	each(t, func(t *testing.T, objects []*unstructured.Unstructured) {
		for _, o := range objects {
			if o.GetKind() != "ConfigMap" {
				continue
			}
			i := installed(t, o)
			if i == nil {
				continue
			}
			n++
			if i.Name != strings.TrimSuffix(o.GetName(), "-config") {
				t.Errorf("%s is the installation %q", id(o), i.Name)
			}
			if i.Labels["app.kubernetes.io/name"] != "self-scaling" {
				t.Errorf("%s: labels %v, want those of the release", id(o), i.Labels)
			}
		}
	})
	if n < 8 {
		t.Errorf("only %d installations were looked at", n)
	}
	i := installed(t, find(t, mustRender(t, `{prometheus: {url: "http://prometheus:9090"}, engine: jobs, schedules: {train: {enabled: false}}}`), "ConfigMap", "self-scaling"))
	if i.Prometheus != "http://prometheus:9090" || i.Backfill.String() != "672h0m0s" || i.Schedules.Train.Enabled || i.Jobs["collector"].Image == "" || i.Jobs["collector"].Timeout.String() != "5m0s" {
		data, _ := yaml.Marshal(i)
		t.Errorf("installation is\n%s", data)
	}
}
