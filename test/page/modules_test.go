//go:build page

package page

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/self-scaling/self-scaling/api/web"
)

// The modules that only compute are tested where they run. Each case is an
// expression and what it must give.
func TestWords(t *testing.T) {
	srv := httptest.NewServer(web.Handler(""))
	defer srv.Close()
	p := newTab(t, desk)
	p.do(navigate(srv.URL + "/"))
	var folder string
	p.eval(`document.querySelector('script[type=module]').src.replace(/[^/]*$/, '')`, &folder)
	p.eval(fmt.Sprintf(`Promise.all(['format', 'words', 'model', 'client', 'chart'].map(m => import(%q + m + '.js'))).then(([f, w, m, c, h]) => { Object.assign(window, {f, w, m, c, h}); })`, folder), nil)

	for _, tt := range []struct {
		name, expression string
		want             any
	}{
		{"half a core", `f.cores(0.5)`, "500m"},
		{"no usage is not unknown", `f.cores(0)`, "0"},
		{"unknown is not no usage", `f.cores(null)`, "–"},
		{"not a number is unknown", `f.cores(NaN)`, "–"},
		{"just under a core", `f.cores(0.9996)`, "1"},
		{"cores", `f.cores(12.345)`, "12.3"},
		{"many cores", `f.cores(12345)`, "12345"},
		{"tiny usage", `f.cores(0.00012)`, "0.12m"},
		{"one core, with its unit", `f.quantity('cpu', 1)`, "1 core"},
		{"millicores have their unit", `f.quantity('cpu', .25)`, "250m"},
		{"bytes", `f.bytes(512)`, "512 B"},
		{"a round amount", `f.bytes(512 * 1024 * 1024)`, "512 MiB"},
		{"almost the next unit", `f.bytes(1023.9 * 1024)`, "1 MiB"},
		{"a large amount", `f.bytes(1.5 * 2 ** 40)`, "1.5 TiB"},
		{"a share", `f.percent(.7)`, "70 %"},
		{"a fine share", `f.percent(.975, 3)`, "97.5 %"},

		{"a duration of Go", `f.seconds('1h2m0.5s')`, 3720.5},
		{"milliseconds are not minutes", `f.seconds('250ms')`, 0.25},
		{"no duration", `f.seconds('soon')`, nil},
		{"a stretch of seconds", `f.span(42_000)`, "42 s"},
		{"a stretch of minutes", `f.span(83_000)`, "1 min 23 s"},
		{"a stretch of hours", `f.span(5400_000)`, "1 h 30 min"},
		{"an unknown stretch", `f.span(null)`, "–"},
		{"Go's zero time is no time", `f.instant('0001-01-01T00:00:00Z')`, nil},
		{"long ago", `f.ago(new Date('2026-01-01T00:00:00Z'), new Date('2026-01-01T03:30:00Z'))`, "3.5 h ago"},
		{"ahead", `f.ago(new Date('2026-01-01T00:10:00Z'), new Date('2026-01-01T00:00:00Z'))`, "in 10 min"},
		{"a moment ago", `f.ago(new Date('2026-01-01T00:00:00Z'), new Date('2026-01-01T00:00:02Z'))`, "just now"},
		{"a time in UTC", `f.dayAndClock(new Date('2026-07-01T23:30:00Z'), 'utc')`, "Wed 1 Jul 23:30"},
		{"the same where the browser is", `f.dayAndClock(new Date('2026-07-01T23:30:00Z'), 'local')`, "Thu 2 Jul 02:30"},

		{"a median between two levels", `m.quantile({levels: [.4, .6]}, [[1, 3]], .5)`, []float64{2}},
		{"a level above all", `m.quantile({levels: [.4, .6]}, [[1, 3]], .9)`, []float64{3}},
		{"a level below all", `m.quantile({levels: [.4, .6]}, [[1, 3]], .1)`, []float64{1}},
		{"a missing bucket breaks the line", `m.history({stepSeconds: 900, buckets: [
			{start: '2026-01-01T00:00:00Z', cpu: {mean: 1, max: 2}}, {start: '2026-01-01T00:45:00Z', cpu: {mean: 3, max: 4}}]}, 'cpu').mean`, []any{1.0, nil, 3.0}},
		{"so does one without a measurement", `m.history({stepSeconds: 900, buckets: [
			{start: '2026-01-01T00:00:00Z', cpu: {mean: 0, max: 0}}, {start: '2026-01-01T00:15:00Z', replicas: 2}]}, 'cpu').mean`, []any{0.0, nil}},
		{"a component without namespace", `m.path({service: 'a b', component: 'c/d'})`, "-/a%20b/c%2Fd"},

		{"an event", `c.parseEvent('id: 7\nevent: run\ndata: {"a":\ndata: 1}')`, map[string]any{"id": "7", "event": "run", "data": "{\"a\":\n1}"}},
		{"a comment is no event", `c.parseEvent(': still here').data ?? 'nothing'`, "nothing"},

		{"a line goes on where it has no point of its own", `h.valueAt({stepped: true, values: [2, undefined, 5]}, 1, String)`, "2"},
		{"but not beyond its end", `h.valueAt({stepped: true, values: [2, undefined, undefined]}, 1, String)`, "–"},
		{"and not across a gap", `h.valueAt({stepped: true, values: [2, null, undefined, 5]}, 2, String)`, "–"},

		{"a reason that the page does not know", `w.reason('NewIdea').title`, "New Idea"},
		{"a floor that moved", `w.floorChange({previousReplicas: 2, minReplicas: 5})`, "2 → 5"},
		{"a first floor", `w.floorChange({minReplicas: 5})`, "5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got any
			p.t = t
			p.eval(tt.expression, &got)
			if g, w := encode(t, got), encode(t, tt.want); g != w {
				t.Errorf("%s = %s, want %s", tt.expression, g, w)
			}
		})
	}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A decision is retold in the order in which it was made: the window, what each
// resource asks for, the limits, the outcome.
func TestExplanation(t *testing.T) {
	srv := httptest.NewServer(web.Handler(""))
	defer srv.Close()
	p := newTab(t, desk)
	p.do(navigate(srv.URL + "/"))
	var steps []struct {
		Kind, Title, Text, Sum string
		Before, Replicas       *int
		Decisive               bool
	}
	p.eval(`import(document.querySelector('script[type=module]').src.replace(/[^/]*$/, 'words.js')).then(w => w.explain({
		from: '2026-01-01T10:00:00Z', to: '2026-01-01T10:17:00Z', expires: '2026-01-01T10:32:00Z', minReplicas: 6, reason: 'FloorRaised', applied: true,
		policy: {mode: 'Auto', minReplicas: 2, maxReplicas: 8},
		demands: [
			{resource: 'cpu', statistic: 'mean', level: .5, usage: 1, bucket: '2026-01-01T10:00:00Z', request: .25, utilization: .7, utilizationFrom: 'HorizontalPodAutoscaler/web', replicas: 6},
			{resource: 'cpu', statistic: 'peak', level: .8, usage: 2.4, bucket: '2026-01-01T10:15:00Z', request: .25, utilization: 1, replicas: 10},
		],
		clamps: [{name: 'MaxReplicas', before: 10, after: 8, message: 'maxReplicas is 8'}, {name: 'MaxStep', before: 8, after: 6, message: 'the floor may rise by 2 at once'}],
	}, 'utc'))`, &steps)
	type short struct {
		kind, title      string
		before, replicas int
		decisive         bool
	}
	number := func(n *int) int {
		if n == nil {
			return 0
		}
		return *n
	}
	var got []short
	for _, s := range steps {
		got = append(got, short{s.Kind, s.Title, number(s.Before), number(s.Replicas), s.Decisive})
	}
	want := []short{
		{"window", "What must be served", 0, 0, false},
		{"demand", "CPU, mean usage", 0, 6, false},
		{"demand", "CPU, peak usage", 0, 10, true},
		{"largest", "The largest counts", 0, 10, false},
		{"clamp", "Your maxReplicas", 10, 8, false},
		{"clamp", "Largest rise at once", 8, 6, false},
		{"outcome", "Floor raised", 0, 6, false},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("steps:\n%v, want\n%v", got, want)
	}
	for i, text := range map[int]string{
		0: "Everything between 10:00 and 10:17: until the next decision, and as long as a pod started then needs to be Ready.",
		1: "Forecast to reach 1 core in the bucket of 10:00 (50 % quantile). One pod requests 250m, and 70 % of it should be used, as HPA web wants.",
		2: "Forecast to reach 2.4 cores in the bucket of 10:15 (80 % quantile). One pod requests 250m, and all of it may be used.",
		5: "Because the floor may rise by 2 at once.",
		6: "A floor of 6 replicas was written to the cluster. It holds until 10:32, when it expires unless renewed.",
	} {
		if steps[i].Text != text {
			t.Errorf("step %d says %q, want %q", i, steps[i].Text, text)
		}
	}
}
