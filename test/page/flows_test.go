//go:build page

package page

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/self-scaling/self-scaling/api/wire"
	"github.com/self-scaling/self-scaling/schemas"
)

var (
	images = schemas.ComponentID{Namespace: "shop", Service: "catalogue", Component: "images"}  // Shadow
	search = schemas.ComponentID{Namespace: "shop", Service: "catalogue", Component: "search"}  // Auto
	reader = schemas.ComponentID{Namespace: "payments", Service: "ledger", Component: "reader"} // Off
	writer = schemas.ComponentID{Namespace: "payments", Service: "ledger", Component: "writer"} // Auto
)

// switchOf selects the buttons of a component's or a service's mode.
func switchOf(name string) string { return fmt.Sprintf(`[aria-label^="Mode of %s"] button`, name) }

// pressed is true once the mode of name is shown.
func pressed(name string, mode schemas.Mode) string {
	return fmt.Sprintf(`[...document.querySelectorAll(%q)].find(b => b.textContent === %q).getAttribute('aria-pressed') === 'true'`, switchOf(name), mode)
}

func (w *world) hasMode(id schemas.ComponentID, want schemas.Mode) {
	w.t.Helper()
	if got := w.services.mode(id); got != want {
		w.t.Errorf("the mode of %s is %s, want %s", id, got, want)
	}
}

func TestSwitchMode(t *testing.T) {
	w := newWorld(t, setup{})
	p := newTab(t, desk)
	p.open(w.url)
	name := images.String()

	p.click(switchOf(name), "Auto")
	p.sees("Switch " + name + " to Auto?")
	for _, text := range []string{
		"writes one field, minReplicas of HPA catalogue-images", "between your minReplicas (2) and your maxReplicas (20)",
		"The HPA goes on reacting above the floor", "your own minReplicas comes back", "the floor would be",
	} {
		p.sees(text)
	}
	p.accessible()
	p.shoot("confirm-auto")
	p.press(kb.Escape)
	p.until("the dialog is closed", `!document.querySelector('dialog')`)
	w.hasMode(images, schemas.Shadow)

	p.click(switchOf(name), "Auto")
	p.click("dialog button", "Switch to Auto")
	p.sees(name + " is Auto now.")
	p.until("the switch shows it", pressed(name, schemas.Auto))
	w.hasMode(images, schemas.Auto)
	if got := p.focused(); got != "Auto" {
		t.Errorf("after the dialog the focus is on %q, want the button that opened it", got)
	}

	// Leaving Auto has consequences as well; going from Off to Shadow has none.
	p.click(switchOf(search.String()), "Off")
	p.sees("Forecasts and decisions end.")
	p.sees("The floor of " + search.String() + " is ")
	p.shoot("confirm-off")
	p.click("dialog button", "Cancel")
	p.until("the dialog is closed", `!document.querySelector('dialog')`)
	w.hasMode(search, schemas.Auto)
	p.click(switchOf(reader.String()), "Shadow")
	p.until("the switch shows it", pressed(reader.String(), schemas.Shadow))
	w.hasMode(reader, schemas.Shadow)
	p.silent()
}

func TestSwitchService(t *testing.T) {
	w := newWorld(t, setup{})
	p := newTab(t, desk)
	p.open(w.url)
	p.click(switchOf("service shop/catalogue"), "Auto")
	p.sees("1 component will change: images.")
	p.click("dialog button", "Switch to Auto")
	p.sees("All of service shop/catalogue is Auto now.")
	p.until("the service's switch shows it", pressed("service shop/catalogue", schemas.Auto))
	w.hasMode(images, schemas.Auto)
	w.hasMode(search, schemas.Auto)
	// A component that comes later has the service's mode too.
	w.hasMode(schemas.ComponentID{Namespace: "shop", Service: "catalogue", Component: "new"}, schemas.Auto)
	p.silent()
}

// Between reading and writing somebody else may have changed the same.
func TestSwitchMeetsAnotherChange(t *testing.T) {
	w := newWorld(t, setup{})
	p := newTab(t, desk)
	p.open(w.url)
	name := images.String()
	p.click(switchOf(name), "Auto")
	p.sees("Switch " + name + " to Auto?")
	if status, body := w.ask("PATCH", "v1/policies/"+name, `{"mode": "Off"}`, http.Header{"Content-Type": {"application/merge-patch+json"}}); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	p.click("dialog button", "Switch to Auto")
	p.sees("Somebody else has changed " + name + " in the meantime.")
	p.shoot("confirm-conflict")
	w.hasMode(images, schemas.Off)
	p.click("dialog button", "Close")
	p.until("the switch shows the other's mode", pressed(name, schemas.Off))
	p.quiet()
}

func TestStartRun(t *testing.T) {
	w := newWorld(t, setup{})
	var streams atomic.Int32
	w.gate.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/events") {
			streams.Add(1)
		}
		return false
	})
	p := newTab(t, desk)
	p.open(w.url + "#/runs")
	p.click("button", "Train now")
	p.until("the run's own view is open", `location.hash.startsWith('#/runs/train-')`)
	p.sees("trainer")
	p.click("button", "Stop")
	p.until("it is stopped", `document.querySelector('.facts .badge').textContent === 'Stopped'`)
	var first string
	p.eval(`location.hash`, &first)
	p.click("button", "Try again")
	p.until("another run is open", fmt.Sprintf(`location.hash.startsWith('#/runs/') && location.hash !== %q`, first))
	p.until("it succeeds", `document.querySelector('.facts .badge')?.textContent === 'Succeeded'`)
	if streams.Load() == 0 {
		t.Error("progress was not followed as a stream of events")
	}
	var address string
	p.eval(`document.querySelector('.actions a').href`, &address)
	if !strings.HasPrefix(address, "https://argo.example/workflows/self-scaling/") {
		t.Errorf("the link to Argo leads to %q", address)
	}
	p.accessible()
	p.click("nav a", "Runs")
	p.until("the list has both", `document.querySelectorAll('.list.runs tbody tr').length === 2`)
	p.silent()
}

func TestComponent(t *testing.T) {
	w := newWorld(t, setup{})
	p := newTab(t, desk)
	p.open(w.url)
	p.click("a", "api")
	p.until("the charts are drawn", `document.querySelectorAll('.plot canvas').length === 2`)
	p.settled()
	if got := p.focused(); got != "api" {
		t.Errorf("the focus is on %q, want the heading", got)
	}

	// What is drawn is the measured usage, in the colour of its line.
	var drawn int
	p.eval(`(() => {
		const c = document.querySelector('.plot canvas'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
		let n = 0;
		for (let i = 0; i < d.length; i += 4) if (d[i] < 40 && d[i + 1] > 70 && d[i + 1] < 115 && d[i + 2] > 120 && d[i + 2] < 165 && d[i + 3] > 200) n++;
		return n;
	})()`, &drawn)
	if drawn < 500 {
		t.Errorf("the line of the usage has %d points of its colour", drawn)
	}

	// The table has the numbers that the interface has.
	_, body := w.ask("GET", "v1/history/shop/checkout/api?from="+noon.Add(-2*time.Hour).Format(time.RFC3339), "", nil)
	var history wire.History
	if err := json.Unmarshal([]byte(body), &history); err != nil {
		t.Fatal(err)
	}
	newest := history.Buckets[len(history.Buckets)-1]
	p.click("summary", "Show as a table")
	p.until("the table is there", `document.querySelectorAll('.as-table tbody tr').length > 90`)
	var row []string
	p.eval(fmt.Sprintf(`import(document.querySelector('script[type=module]').src.replace(/[^/]*$/, 'format.js')).then(f => {
		const at = f.dayAndClock(new Date(%q), 'local');
		const row = [...document.querySelectorAll('.as-table tbody tr')].find(r => r.children[0].textContent === at);
		return [[...row.children].map(c => c.textContent), f.cores(%v), f.cores(%v), String(%d)];
	}).then(([row, mean, peak, replicas]) => [row[1] === mean ? 'mean' : row[1] + ' is not ' + mean, row[2] === peak ? 'peak' : row[2] + ' is not ' + peak, row[5] === replicas ? 'replicas' : row[5] + ' is not ' + replicas])`,
		newest.Start.Format(time.RFC3339), newest.CPU.Mean, newest.CPU.Max, *newest.Replicas), &row)
	if got := strings.Join(row, ", "); got != "mean, peak, replicas" {
		t.Error(got)
	}
	p.accessible()

	p.click("button", "Memory")
	p.until("the table shows memory", `document.querySelector('.as-table tbody').textContent.includes('GiB')`)
	p.click("button", "7 days")
	p.until("the table reaches further back", `document.querySelectorAll('.as-table tbody tr').length > 400`)

	p.click("button", "Why: shop/checkout/api")
	p.until("an earlier decision is explained", `document.querySelectorAll('.explanation').length === 2`)
	p.fits()
	p.silent()
}

// The cursor tells the values below it in both charts.
func TestCursor(t *testing.T) {
	w := newWorld(t, setup{})
	p := newTab(t, desk)
	p.open(w.url + "#/components/payments/ledger/writer")
	p.until("the charts are drawn", `document.querySelectorAll('.plot canvas').length === 2`)
	p.settled()
	var at struct{ X, Y float64 }
	p.eval(`(() => { const b = document.querySelector('.u-over').getBoundingClientRect(); return {x: b.x + b.width * .6, y: b.y + b.height / 2}; })()`, &at)
	p.do(hover(at.X, at.Y))
	p.until("both legends tell the same time", `(() => { const [a, b] = [...document.querySelectorAll('.legend .when')].map(e => e.textContent); return a !== '' && a === b; })()`)
	p.until("and the values", `/[0-9]/.test(document.querySelector('.key b').textContent)`)
	p.shoot("cursor")
	p.silent()
}

// Thousands of components come in pages, and are searched.
func TestManyComponents(t *testing.T) {
	w := newWorld(t, setup{empty: true})
	w.gate.set(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v1/components" {
			return false
		}
		var from int
		_, _ = fmt.Sscan(r.URL.Query().Get("cursor"), &from)
		var list wire.ComponentList
		policy := schemas.DefaultPolicy()
		for i := from; i < from+500; i++ {
			list.Items = append(list.Items, wire.Component{ID: wire.ComponentID{Namespace: "load", Service: fmt.Sprintf("service-%03d", i/10), Component: fmt.Sprintf("part-%04d", i)}, Policy: wire.NewPolicy(&policy), PolicyVersion: `"1"`})
		}
		if from < 1000 {
			list.Next = fmt.Sprint(from + 500)
		}
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(list)
		return true
	})
	p := newTab(t, desk)
	p.open(w.url)
	rows := `document.querySelectorAll('.list.components th a').length`
	p.until("the first page is drawn", rows+` === 500`)
	p.click("button", "Show more")
	p.until("the second page as well", rows+` === 1000`)
	p.click("button", "Show more")
	p.until("and all of them", rows+` === 1500 && ![...document.querySelectorAll('button')].some(b => b.textContent === 'Show more')`)
	p.click("[type=search]", "Search components")
	p.press("part-1234")
	p.until("the search narrows the list", rows+` === 1`)
	p.press("x")
	p.sees("Nothing matches")
}

// Everything can be done with the keyboard alone.
func TestKeyboard(t *testing.T) {
	w := newWorld(t, setup{})
	p := newTab(t, desk)
	p.open(w.url)
	p.until("the list is drawn", `document.querySelector('.list.components a')`)
	p.press(kb.Tab)
	if got := p.focused(); got != "Skip to the content" {
		t.Fatalf("the first stop is %q", got)
	}
	p.press(kb.Enter)
	p.until("the content has the focus", `document.activeElement.tagName === 'MAIN'`)

	// tabTo presses Tab until the focus is within what selector finds.
	tabTo := func(selector string) {
		t.Helper()
		for range 60 {
			p.press(kb.Tab)
			var there bool
			p.eval(fmt.Sprintf(`!!document.activeElement.closest(%q)`, selector), &there)
			if there {
				return
			}
		}
		t.Fatalf("Tab does not lead to %s", selector)
	}
	tabTo(`[aria-label="Mode of ` + images.String() + `"]`)
	if got := p.focused(); got != "Shadow" {
		t.Errorf("the focus enters the switch at %q, want the mode that holds", got)
	}
	p.press(kb.ArrowRight)
	if got := p.focused(); got != "Auto" {
		t.Errorf("an arrow leads to %q, want Auto", got)
	}
	w.hasMode(images, schemas.Shadow) // moving is not choosing
	p.press(kb.Enter)
	p.sees("Switch " + images.String() + " to Auto?")
	for range 5 {
		p.press(kb.Tab)
		var inside bool
		p.eval(`document.activeElement === document.body || !!document.activeElement.closest('dialog')`, &inside)
		if !inside {
			t.Fatalf("Tab leads out of the dialog, to %q", p.focused())
		}
	}
	p.press(kb.Escape)
	p.until("the dialog is closed", `!document.querySelector('dialog')`)
	if got := p.focused(); got != "Auto" {
		t.Errorf("after Escape the focus is on %q, want the button that opened the dialog", got)
	}

	p.goTo("#/")
	p.eval(`document.querySelector('summary[aria-label=Settings]').focus()`, nil)
	p.press(kb.Enter)
	p.until("the settings are open", `document.querySelector('.menu').open`)
	p.press(kb.Tab, kb.ArrowRight, kb.ArrowRight, kb.Enter)
	p.until("the page is dark", `document.documentElement.dataset.theme === 'dark'`)
	p.press(kb.Escape)
	p.until("the settings are closed", `!document.querySelector('.menu').open`)
	if got := p.focused(); got != "Settings" {
		t.Errorf("after Escape the focus is on %q, want Settings", got)
	}
	p.open(w.url)
	p.until("the choice is kept", `document.documentElement.dataset.theme === 'dark'`)
	p.silent()
}

func TestSettingTheZone(t *testing.T) {
	w := newWorld(t, setup{})
	p := newTab(t, desk)
	p.open(w.url)
	p.until("times are the browser's", `/^15:\d\d EES?T$/.test(document.querySelector('.clock').textContent.trim())`)
	p.click("summary", "Settings")
	p.shoot("settings")
	p.click("button", "UTC")
	p.until("times are UTC", `/^12:\d\d UTC$/.test(document.querySelector('.clock').textContent.trim())`)
	p.do(mouseAt(640, 700))
	p.until("a click elsewhere closes the settings", `!document.querySelector('.menu').open`)
}

func TestSignIn(t *testing.T) {
	w := newWorld(t, setup{access: users{}})
	p := newTab(t, desk)
	p.open(w.url)
	p.sees("This API wants a Kubernetes token.")
	p.accessible()
	p.shoot("sign-in")
	enter := func(token string) {
		t.Helper()
		p.click("#token", "")
		p.eval(`document.querySelector('#token').select()`, nil)
		p.press(token, kb.Enter)
	}
	enter("wrong-token")
	p.sees("The token was not accepted.")

	enter("reader-token")
	p.until("the list is drawn", `document.querySelector('.list.components a')`)
	p.sees("Read only")
	p.until("the switches do nothing", `[...document.querySelectorAll('.modes button')].every(b => b.getAttribute('aria-disabled') === 'true')`)
	p.click(switchOf(reader.String()), "Shadow")
	p.goTo("#/runs")
	p.until("the buttons do nothing", `[...document.querySelectorAll('.actions button')].every(b => b.disabled)`)
	p.accessible()
	w.hasMode(reader, schemas.Off)
	var kept string
	p.eval(`JSON.stringify(localStorage) + document.cookie`, &kept)
	if strings.Contains(kept, "token") {
		t.Errorf("the token is kept beyond the tab: %s", kept)
	}

	p.click("summary", "Settings")
	p.click("button", "Forget the token")
	p.sees("This API wants a Kubernetes token.")
	enter("operator-token")
	p.until("the buttons work", `document.querySelector('.actions button') && [...document.querySelectorAll('.actions button')].every(b => !b.disabled)`)
	p.quiet()
}

func TestStoreDown(t *testing.T) {
	w := newWorld(t, setup{speed: 2}) // the faster the clock, the more often the page asks
	p := newTab(t, desk)
	p.open(w.url)
	p.until("the list is drawn", `document.querySelector('.list.components a')`)
	w.bucket.broken.Store(true)
	p.sees("The store cannot be read since")
	p.sees("connection refused")
	p.sees("queue-consumer-with-a-long-name") // what was read before is still there
	p.accessible()
	p.shoot("store-down")
	w.bucket.broken.Store(false)
	p.until("the banner is gone", `!document.querySelector('.banner')`)
	p.quiet()
}

func TestServerGone(t *testing.T) {
	w := newWorld(t, setup{})
	p := newTab(t, desk)
	p.open(w.url)
	p.until("the list is drawn", `document.querySelector('.list.components a')`)
	w.gate.set(gone)
	p.sees("The API does not answer.")
	p.sees("Not connected")
	p.sees("queue-consumer-with-a-long-name")
	p.accessible()
	p.shoot("server-gone")
	w.gate.set(nil)
	p.until("the banner is gone", `!document.querySelector('.banner')`)
	p.quiet()
}

// Behind a proxy's prefix nothing is asked for outside of it.
func TestBelowAPrefix(t *testing.T) {
	w := newWorld(t, setup{base: "/tools/self-scaling"})
	p := newTab(t, desk)
	p.open(w.url)
	p.click("a", "api")
	p.until("the charts are drawn", `document.querySelectorAll('.plot canvas').length === 2`)
	p.settled()
	var outside []string
	p.eval(`performance.getEntriesByType('resource').map(e => new URL(e.name).pathname).filter(n => !n.startsWith('/tools/self-scaling/'))`, &outside)
	if len(outside) > 0 {
		t.Errorf("asked for outside of the prefix: %v", outside)
	}
	p.silent()
}

// In a demonstration time runs faster: the page follows the server's clock.
func TestAcceleratedTime(t *testing.T) {
	w := newWorld(t, setup{speed: 600})
	p := newTab(t, desk)
	p.open(w.url)
	p.sees("×600")
	var first, second string
	p.eval(`document.querySelector('.clock').textContent`, &first)
	p.until("minutes pass in seconds", fmt.Sprintf(`document.querySelector('.clock').textContent !== %q`, first))
	p.until("the data grows old by that clock", `/Data .* h ago/.test(document.querySelector('.fresh').textContent) && document.querySelector('.fresh .warn')`)
	p.eval(`document.querySelector('.clock time')?.title ?? document.querySelector('.clock').title`, &second)
	if !strings.Contains(second, "600") {
		t.Errorf("the clock does not say that it runs faster: %q", second)
	}
	p.silent()
}

// What is loaded before the page can be used, and how long that takes here.
func TestSizeAndSpeed(t *testing.T) {
	w := newWorld(t, setup{})
	p := newTab(t, desk)
	p.open(w.url)
	p.until("the list is drawn", `document.querySelector('.list.components a')`)
	p.settled()
	var load struct {
		Files, Plain, Sent int
		First              float64
	}
	p.eval(`(() => {
		const own = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')].filter(e => !e.name.includes('/v1/'));
		return {files: own.length, plain: own.reduce((n, e) => n + e.decodedBodySize, 0), sent: own.reduce((n, e) => n + e.transferSize, 0), first: performance.getEntriesByName('first-contentful-paint')[0]?.startTime};
	})()`, &load)
	if load.Plain > 300_000 || load.Files < 10 {
		t.Errorf("the page must have at most 300000 bytes, but %d files have %d", load.Files, load.Plain)
	}
	t.Logf("%d files, %d bytes, %d sent; first painted after %.0f ms", load.Files, load.Plain, load.Sent, load.First)

	for range 5 {
		p.do(navigate("about:blank"), navigate(w.url))
		p.until("the list is drawn", `document.querySelector('.list.components button[aria-pressed=true]')`)
		p.until("it has said so", `performance.getEntriesByName('usable')[0]`)
		var usable float64
		p.eval(`performance.getEntriesByName('usable')[0]?.startTime`, &usable)
		t.Logf("usable after %.0f ms", usable)
	}
}
