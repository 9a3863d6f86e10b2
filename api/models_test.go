package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/self-scaling/self-scaling/api"
	"github.com/self-scaling/self-scaling/api/access/accesstest"
	"github.com/self-scaling/self-scaling/api/apitest"
	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/jobs/models"
	"github.com/self-scaling/self-scaling/schemas"
)

// newTrained is a shop with three trainings, train-1 to train-3.
func newTrained(t *testing.T, change ...func(*api.Config)) *apitest.World {
	t.Helper()
	w := newShop(t, change...)
	for i, run := range []string{"train-2", "train-3"} {
		apitest.Models(t, w.Store, []schemas.ComponentID{web}, apitest.Now.AddDate(0, 0, i+1), run)
	}
	w.Refresh(t)
	return w
}

// current returns what GET /v1/models shows, and its ETag.
func current(t *testing.T, w *apitest.World) (wire.ModelList, string) {
	t.Helper()
	got := do(t, w, call{method: "GET", path: "/v1/models"})
	return decode[wire.ModelList](t, got, 200), got.header.Get("ETag")
}

func rollBack(t *testing.T, w *apitest.World, body, match string) answer {
	t.Helper()
	header := map[string]string{"Content-Type": "application/json"}
	if match != "" {
		header["If-Match"] = match
	}
	return do(t, w, call{"POST", "/v1/models/rollback", header, body})
}

func TestModelsAreRolledBack(t *testing.T) {
	w := newTrained(t)
	_, tag := current(t, w)
	w.Clock.SetTime(apitest.Now.Add(time.Hour))

	would := rollBack(t, w, `{"model":"train-1","dryRun":true}`, tag)
	want := wire.RolledBack{Run: "train-1", Before: "train-3", Number: 4, Changed: true, DryRun: true}
	if got := decode[wire.RolledBack](t, would, 200); got != want || would.header.Get("ETag") != tag {
		t.Errorf("what would be done is %d %s with ETag %q, want %+v with %q", would.status, would.body, would.header.Get("ETag"), want, tag)
	}
	if _, still := current(t, w); still != tag {
		t.Errorf("the ETag is %s after a dry run, want %s", still, tag)
	}

	done := rollBack(t, w, `{"model":"train-1","reason":"floors too low since Monday","hold":true}`, tag)
	want = wire.RolledBack{Run: "train-1", Before: "train-3", Number: 4, Hold: true, Changed: true}
	if got := decode[wire.RolledBack](t, done, 200); got != want {
		t.Errorf("answered with %d %s, want %+v", done.status, done.body, want)
	}
	// Who looks next sees it.
	list, after := current(t, w)
	if list.Accepted != "train-1" || list.RolledBackFrom != "train-3" || list.Reason != "floors too low since Monday" || !list.Hold || after != done.header.Get("ETag") || after == tag {
		t.Errorf("the models are %+v with ETag %s; the rollback had %s", list, after, done.header.Get("ETag"))
	}

	// Who thought of what was there before is told so; who does not say is not.
	if got := rollBack(t, w, `{"model":"train-2"}`, tag); got.status != 412 || !strings.Contains(got.body, "record 3 of the models must be the newest, but 4 is") {
		t.Errorf("with the old ETag: %d %s, want 412", got.status, got.body)
	}
	if list, _ := current(t, w); list.Accepted != "train-1" {
		t.Errorf("then the models are of %s, want train-1", list.Accepted)
	}
	again := rollBack(t, w, `{"model":"train-1","hold":true}`, "")
	want = wire.RolledBack{Run: "train-1", Before: "train-1", Number: 4, Hold: true}
	if got := decode[wire.RolledBack](t, again, 200); got != want {
		t.Errorf("the same again: %d %s, want %+v", again.status, again.body, want)
	}
	// And forward, by the number of the entry, whatever holds.
	if got := rollBack(t, w, `{"model":"3"}`, "*"); decode[wire.RolledBack](t, got, 200).Run != "train-3" {
		t.Errorf("forward again: %d %s", got.status, got.body)
	}
}

// All that were ever accepted, and all that somebody went back to, page by page.
func TestTheLineOfModels(t *testing.T) {
	w := newTrained(t)
	if got := rollBack(t, w, `{"model":"train-1","reason":"floors too low","hold":true}`, ""); got.status != 200 {
		t.Fatalf("rollback: %d %s", got.status, got.body)
	}
	type entry struct {
		number     uint64
		run        string
		current    bool
		components int
		back, why  string
		hold       bool
	}
	short := func(items []wire.ModelEntry) []entry {
		var out []entry
		for _, e := range items {
			if e.CodeVersion != "1.0.0" || e.Shards != 1 || !e.From.Before(e.To) || e.Damage != "" || (e.At != nil) != (e.RolledBackFrom != "") {
				t.Errorf("entry %+v", e)
			}
			out = append(out, entry{e.Number, e.Run, e.Current, e.Components, e.RolledBackFrom, e.Reason, e.Hold})
		}
		return out
	}
	want := []entry{
		{4, "train-1", true, 3, "train-3", "floors too low", true},
		{3, "train-3", false, 1, "", "", false},
		{2, "train-2", false, 1, "", "", false},
		{1, "train-1", false, 3, "", "", false},
	}
	all := read[wire.ModelLine](t, w, "/v1/models/line")
	if diff := cmp.Diff(want, short(all.Items), cmp.AllowUnexported(entry{})); diff != "" || all.Next != "" {
		t.Errorf("line (-want +got), next %q:\n%s", all.Next, diff)
	}
	first := read[wire.ModelLine](t, w, "/v1/models/line?limit=3")
	// What comes in between moves nothing on the pages that follow.
	apitest.Models(t, w.Store, []schemas.ComponentID{web}, apitest.Now.AddDate(0, 0, 5), "train-5")
	w.Refresh(t)
	rest := read[wire.ModelLine](t, w, "/v1/models/line?limit=3&cursor="+first.Next)
	if diff := cmp.Diff(want[1:], short(append(first.Items, rest.Items...))[1:], cmp.AllowUnexported(entry{})); diff != "" || len(first.Items) != 3 || rest.Next != "" {
		t.Errorf("pages (-want +got), next %q:\n%s", rest.Next, diff)
	}
	// The models of a rollback that holds are replaced by nobody.
	if newest := read[wire.ModelLine](t, w, "/v1/models/line?limit=1").Items[0]; newest.Number != 4 || !newest.Current {
		t.Errorf("the newest entry is %+v, want that of the rollback", newest)
	}
}

func TestTheLineOfModelsSaysWhichCannotBeUsed(t *testing.T) {
	w := newTrained(t)
	record, err := models.Find(t.Context(), w.Store, "train-2")
	if err != nil {
		t.Fatal(err)
	}
	m, err := w.Store.ReadManifest(t.Context(), record.Head.Manifest.Inputs[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Bucket.Put(t.Context(), m.Files[0].Key, []byte("damaged")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range read[wire.ModelLine](t, w, "/v1/models/line").Items {
		word := "can be used"
		if e.Damage != "" {
			word = fmt.Sprintf("damaged, %d components", e.Components)
		}
		got = append(got, e.Run+" "+word)
	}
	if diff := cmp.Diff([]string{"train-3 can be used", "train-2 damaged, 0 components", "train-1 can be used"}, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	if got := do(t, apitest.New(t, nil), call{method: "GET", path: "/v1/models/line"}); got.status != 200 || got.body != `{"items":[]}` {
		t.Errorf("before the first training: %d %s", got.status, got.body)
	}
}

func TestRollbacksThatCannotBe(t *testing.T) {
	for _, tt := range []struct {
		name, body, match string
		status            int
		want              string
	}{
		{"models that nobody has trained", `{"model":"train-9"}`, "", 422, `but is \"train-9\"`},
		{"no model", `{}`, "", 422, "required property model"},
		{"an empty name", `{"model":""}`, "", 422, "body.model"},
		{"a reason of two lines", `{"model":"train-1","reason":"a\nb"}`, "", 422, "body.reason"},
		{"a member that is none", `{"model":"train-1","force":true}`, "", 422, "body"},
		{"no JSON", `{`, "", 400, ""},
		{"the ETag of something else", `{"model":"train-1"}`, `"abc"`, 412, "If-Match must be the ETag of GET /v1/models"},
		{"the ETag of no models", `{"model":"train-1"}`, `"m0"`, 412, "If-Match must be"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newTrained(t)
			got := rollBack(t, w, tt.body, tt.match)
			if got.status != tt.status || !strings.Contains(got.body, tt.want) {
				t.Errorf("answered with %d %s, want %d and %q in it", got.status, got.body, tt.status, tt.want)
			}
			if list, _ := current(t, w); list.Number != 3 {
				t.Errorf("entry %d holds then, want 3", list.Number)
			}
		})
	}
}

func TestRollbackWhereTheStoreDoesNotAnswer(t *testing.T) {
	w := newTrained(t)
	w.Bucket.Down(true)
	if got := rollBack(t, w, `{"model":"train-1"}`, ""); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("answered with %d %s, want 503", got.status, got.body)
	}
}

func TestAServerThatCannotRollBackSaysSo(t *testing.T) {
	w := newTrained(t, func(c *api.Config) { c.Rollback = nil })
	if got := rollBack(t, w, `{"model":"train-1"}`, ""); got.status != 404 {
		t.Errorf("answered with %d %s, want 404", got.status, got.body)
	}
}

func TestARollbackIsInTheAudit(t *testing.T) {
	w, cluster, log := newGuarded(t)
	cluster.Grant(accesstest.Right{User: "caller", Verb: "update", Resource: "models"})
	c := call{"POST", "/v1/models/rollback", ofJSON, `{"model":"train-1","hold":true,"reason":"too low"}`}
	if got := do(t, w, c.with(callerToken)); got.status != 200 {
		t.Fatalf("answered with %d %s", got.status, got.body)
	}
	lines := log.audit(t)
	if len(lines) != 1 {
		t.Fatalf("%d audit lines, want 1", len(lines))
	}
	if diff := cmp.Diff("to train-1, hold, too low", lines[0]["what"]); diff != "" || lines[0]["user"] != "caller" {
		t.Errorf("audit line is %v (-want +got what):\n%s", lines[0], diff)
	}
}
