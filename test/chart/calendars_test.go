package chart_test

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/self-scaling/self-scaling/jobs/calendar"
)

// What is special about days, from the values to the programs that learn and forecast.

const calendarValues = `
calendars:
  - {kind: holidays, ics: "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:a\nBEGIN:VEVENT\nUID:1\nDTSTAMP:20260101T000000Z\nDTSTART;VALUE=DATE:20260106\nSUMMARY:Reyes\nEND:VEVENT\nEND:VCALENDAR\n"}
  - {service: shop, configMap: sales, key: autumn.ics}
timeZones: [{zone: Europe/Madrid}, {service: bank, zone: Asia/Tokyo}]
`

// sales is what somebody has in the ConfigMap.
const sales = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:a\nBEGIN:VEVENT\nUID:2\nDTSTAMP:20260101T000000Z\nDTSTART;VALUE=DATE:20260107\nSUMMARY:Sales\nEND:VEVENT\nEND:VCALENDAR\n"

// mounted writes what a pod has mounted into a folder, as the kubelet does, and returns
// the arguments of its container with paths there.
func mounted(t *testing.T, objects []*unstructured.Unstructured, volumes []corev1.Volume, c *corev1.Container) []string {
	t.Helper()
	root := t.TempDir()
	var paths []string
	for _, m := range c.VolumeMounts {
		if !strings.HasPrefix(m.Name, "calendar-") {
			continue
		}
		i := slices.IndexFunc(volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if i < 0 {
			t.Fatalf("container %s mounts %s, which the pod does not have", c.Name, m.Name)
		}
		v := volumes[i]
		if v.ConfigMap.Optional == nil || !*v.ConfigMap.Optional {
			t.Errorf("the volume %s keeps the pod of %s from starting", v.Name, c.Name)
		}
		data := map[string]string{"autumn.ics": sales, "other.ics": "no calendar"}
		if v.ConfigMap.Name != "sales" {
			data = decode[corev1.ConfigMap](t, find(t, objects, "ConfigMap", v.ConfigMap.Name)).Data
		}
		dir := filepath.Join(root, m.MountPath)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, item := range v.ConfigMap.Items {
			if err := os.WriteFile(filepath.Join(dir, item.Path), []byte(data[item.Key]), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		paths = append(paths, m.MountPath, dir)
	}
	var args []string
	for _, arg := range c.Args {
		args = append(args, strings.NewReplacer(paths...).Replace(arg))
	}
	return args
}

func TestCalendarsReachWhoLearnsAndForecasts(t *testing.T) {
	for _, tt := range []struct {
		values   string
		programs []string
	}{
		{"engine: argo", []string{"trainer", "inference"}},
		{"engine: jobs", []string{"trainer", "inference"}},
		{"mode: standalone", []string{"standalone"}},
	} {
		t.Run(tt.values, func(t *testing.T) {
			objects := mustRender(t, calendarValues+tt.values)
			found := map[string][]string{} // arguments by program
			add := func(program string, volumes []corev1.Volume, c *corev1.Container) {
				if slices.Contains(tt.programs, program) {
					found[program] = mounted(t, objects, volumes, c)
				}
			}
			for _, o := range objects {
				for _, pod := range pods(t, o) {
					for i := range pod.Spec.Containers {
						c := &pod.Spec.Containers[i]
						if o.GetKind() == "WorkflowTemplate" && c.Name == "main" {
							add(path.Base(c.Command[0]), pod.Spec.Volumes, c)
						}
					}
				}
				if o.GetKind() == "StatefulSet" {
					pod := decode[appsv1.StatefulSet](t, o).Spec.Template.Spec
					add("standalone", pod.Volumes, &pod.Containers[0])
				}
				if o.GetKind() == "ConfigMap" {
					if i := installed(t, o); i != nil {
						for program, j := range i.Jobs {
							add(program, i.Volumes, &corev1.Container{Name: program, Args: j.Args, VolumeMounts: i.VolumeMounts})
						}
					}
				}
			}
			for _, program := range tt.programs {
				var files, zones []string
				for _, arg := range found[program] {
					if v, ok := strings.CutPrefix(strings.TrimLeft(arg, "-"), "calendar="); ok {
						files = append(files, v)
					}
					if v, ok := strings.CutPrefix(strings.TrimLeft(arg, "-"), "timezone="); ok {
						zones = append(zones, v)
					}
				}
				c, err := calendar.Load(files, zones)
				if err != nil {
					t.Fatalf("%s: %v (arguments %v)", program, err, found[program])
				}
				from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
				for service, want := range map[string][]string{
					"shop": {"Reyes holiday 2026-01-06 Europe/Madrid", "Sales 2026-01-07 Europe/Madrid"},
					"bank": {"Reyes holiday 2026-01-06 Asia/Tokyo"},
				} {
					var got []string
					view := c.Of(service)
					for _, o := range view.Between(from, from.AddDate(0, 1, 0)) {
						holiday := ""
						if o.Holiday {
							holiday = " holiday"
						}
						got = append(got, o.Summary+holiday+" "+o.Start.In(view.Zone()).Format(time.DateOnly)+" "+view.Zone().String())
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("%s, days of %s (-want +got):\n%s", program, service, diff)
					}
				}
			}
		})
	}
}
