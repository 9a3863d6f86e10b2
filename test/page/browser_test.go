//go:build page

package page

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

var screenshots = flag.String("screenshots", "", "folder to write screenshots to; none are written without it")

// patience bounds each wait for the page. What is waited for comes in
// milliseconds, on a busy machine in seconds; the bound only ends a wait for what
// never comes.
const patience = 2 * time.Minute

//go:embed axe/axe.min.js
var axe string

var browser context.Context

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		fmt.Fprintln(os.Stderr, "page: chromium must be installed; on Debian: apt-get install chromium")
		return 1
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program),
		chromedp.WSURLReadTimeout(patience),
		chromedp.Flag("lang", "en-GB"),
		chromedp.Env("TZ=Europe/Athens"), // a zone whose times are never UTC's
	)
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	if err := chromedp.Do(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "page: chromium does not start:", err)
		return 1
	}
	browser = ctx
	return m.Run()
}

// tab is a browser's tab with a storage of its own.
type tab struct {
	t    testing.TB
	ctx  context.Context
	mu   sync.Mutex
	said []string // what the page wrote to the console
}

// look says how the page is looked at.
type look struct {
	width, height int64
	dark          bool
	noMotion      bool
}

var desk = look{width: 1280, height: 900}

// newTab opens an empty tab, which is closed with the test. A message in the
// console fails the test, unless it is about a request that failed and those are
// expected.
func newTab(t testing.TB, l look) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	p := &tab{t: t, ctx: ctx}
	// The tab lives as long as the context of the first call, so that one has no
	// time limit.
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			p.mu.Lock()
			p.said = append(p.said, fmt.Sprintf("%s %s: %s (%s:%d)", m.Source, m.Type, m.Text, m.URL, m.Line))
			p.mu.Unlock()
		}
	}()
	p.see(l)
	return p
}

// see changes how the page is looked at.
func (p *tab) see(l look) {
	p.t.Helper()
	scheme, motion := "light", "no-preference"
	if l.dark {
		scheme = "dark"
	}
	if l.noMotion {
		motion = "reduce"
	}
	p.do(chromedp.EmulateViewport(l.width, l.height))
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: motion},
	}}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// open loads an address and waits until the page has drawn itself.
func (p *tab) open(url string) {
	p.t.Helper()
	p.do(chromedp.Navigate("about:blank"), chromedp.Navigate(url))
	p.until("the page is drawn", `document.querySelector('header.top')`)
}

// goTo follows a link to another view of the page.
func (p *tab) goTo(hash string) {
	p.t.Helper()
	p.eval(fmt.Sprintf("location.hash = %q", hash), nil)
}

// eval evaluates an expression, waits where it is a promise, and decodes its
// value.
func (p *tab) eval(expression string, into any) {
	p.t.Helper()
	if err := p.tryEval(expression, into); err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
}

func (p *tab) tryEval(expression string, into any) error {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`(async () => JSON.stringify((await (`+expression+`)) ?? null))()`, chromedp.EvalAwaitPromise))
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal([]byte(text), into)
}

// until waits until an expression is true.
func (p *tab) until(what, expression string) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		var ok bool
		err := p.tryEval("!!("+expression+")", &ok)
		if ok {
			return
		}
		if time.Now().After(deadline) {
			var text string
			_ = p.tryEval("document.body.innerText", &text)
			p.t.Fatalf("%s: not within %s (%v); the page says:\n%s\nconsole: %v", what, patience, err, text, p.console())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// settled waits until nothing is loading any more.
func (p *tab) settled() {
	p.t.Helper()
	p.until("everything is loaded", `!document.querySelector('.loading, .boot')`)
}

// sees waits until the page shows a text.
func (p *tab) sees(text string) {
	p.t.Helper()
	p.until("the page says "+text, fmt.Sprintf("document.body.innerText.includes(%q)", text))
}

// The page's elements are found as people find them: by what they say.
const finder = `(selector, name) => [...document.querySelectorAll(selector)].find(e => {
	const box = e.getBoundingClientRect();
	return box.width > 0 && (e.getAttribute('aria-label') === name || e.textContent.trim() === name);
})`

// click clicks with the mouse, where the element is on the screen, on what
// selector and name find.
func (p *tab) click(selector, name string) {
	p.t.Helper()
	p.until(fmt.Sprintf("there is %s %q", selector, name), fmt.Sprintf("(%s)(%q, %q)", finder, selector, name))
	var at struct{ X, Y float64 }
	p.eval(fmt.Sprintf(`(() => { const e = (%s)(%q, %q); e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect(); return {x: b.x + b.width / 2, y: b.y + b.height / 2}; })()`, finder, selector, name), &at)
	p.do(chromedp.MouseClickXY(at.X, at.Y))
}

// press presses keys, as on a keyboard.
func (p *tab) press(keys ...string) {
	p.t.Helper()
	for _, k := range keys {
		p.do(chromedp.KeyEvent(k))
	}
}

// focused says what has the focus: its label or text.
func (p *tab) focused() string {
	p.t.Helper()
	var name string
	p.eval(`(() => { const e = document.activeElement; return e === document.body ? '' : e.getAttribute('aria-label') ?? (e.labels?.[0]?.textContent || e.textContent.trim().slice(0, 80)); })()`, &name)
	return name
}

// console returns what the page wrote to the console. Chromium reports each
// failed request there, whatever the page makes of it: failed says that they
// are expected.
func (p *tab) console() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.said...)
}

// quiet fails the test where the page wrote anything to the console.
func (p *tab) quiet() {
	p.t.Helper()
	// What the page wrote before arrives before what is written now.
	p.eval(`console.debug('page test: end of messages')`, nil)
	deadline := time.Now().Add(patience)
	for {
		said := p.console()
		if n := len(said); n > 0 && strings.Contains(said[n-1], "end of messages") {
			for _, m := range said {
				if !strings.Contains(m, "end of messages") && !strings.HasPrefix(m, "network error: Failed to load resource") {
					p.t.Errorf("console: %s", m)
				}
			}
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatal("the console does not answer")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// silent is quiet, and fails the test for failed requests as well.
func (p *tab) silent() {
	p.t.Helper()
	p.quiet()
	for _, m := range p.console() {
		if strings.HasPrefix(m, "network error") {
			p.t.Errorf("console: %s", m)
		}
	}
}

// shoot writes a screenshot of the whole page.
func (p *tab) shoot(name string) {
	p.t.Helper()
	if *screenshots == "" {
		return
	}
	if err := os.MkdirAll(*screenshots, 0o755); err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), png, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// accessible lets axe-core look at the page as it is now, and fails the test for
// what it calls serious or critical.
func (p *tab) accessible() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[chromedp.Void](axe+"\n;undefined", chromedp.EvalIgnoreExceptions)); err != nil {
		p.t.Fatal(err)
	}
	var result struct {
		Passes     int
		Violations []struct {
			ID, Impact, Help string
			Nodes            []struct{ HTML, FailureSummary string }
		}
	}
	p.eval(`axe.run(document, {resultTypes: ['violations']}).then(r => ({passes: r.passes.length, violations: r.violations.map(v => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.slice(0, 4).map(n => ({html: n.html.slice(0, 200), failureSummary: n.failureSummary}))}))}))`, &result)
	if result.Passes < 10 {
		p.t.Errorf("axe-core passed only %d rules: did it see the page?", result.Passes)
	}
	for _, v := range result.Violations {
		for _, n := range v.Nodes {
			if v.Impact == "serious" || v.Impact == "critical" {
				p.t.Errorf("axe-core, %s: %s (%s): %s\n%s", v.Impact, v.Help, v.ID, n.HTML, n.FailureSummary)
			} else {
				p.t.Logf("axe-core, %s: %s (%s): %s", v.Impact, v.Help, v.ID, n.HTML)
			}
		}
	}
}

// fits fails the test where the page is wider than what shows it.
func (p *tab) fits() {
	p.t.Helper()
	var over []string
	p.eval(`(() => {
		const wide = document.documentElement.clientWidth;
		if (document.documentElement.scrollWidth <= wide) return [];
		return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > wide + 1 && !e.closest('.scroll, .hidden')).slice(0, 5).map(e => e.outerHTML.slice(0, 160));
	})()`, &over)
	for _, e := range over {
		p.t.Errorf("wider than the window: %s", e)
	}
}

func navigate(url string) chromedp.Action[chromedp.Void] { return chromedp.Navigate(url) }

func mouseAt(x, y float64) chromedp.Action[chromedp.Void] { return chromedp.MouseClickXY(x, y) }

func hover(x, y float64) chromedp.Action[chromedp.Void] {
	return chromedp.MouseEvent(chromedp.MouseMoved, x, y)
}
