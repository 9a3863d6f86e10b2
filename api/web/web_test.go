package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// budget is how many bytes the page may have in all before compression.
const budget = 300_000

func ask(t *testing.T, h http.Handler, method, target string, header http.Header) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for k, v := range header {
		r.Header[k] = v
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// parts returns the paths that the page's markup names.
func parts(t *testing.T, markup string) []string {
	t.Helper()
	var found []string
	for _, m := range regexp.MustCompile(`(?:href|src)="(assets/[^"]+)"|"\./(assets/[^"]+)"`).FindAllStringSubmatch(markup, -1) {
		found = append(found, m[1]+m[2])
	}
	if len(found) < 10 {
		t.Fatalf("the page names only %v", found)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func TestPageAndAllItsParts(t *testing.T) {
	for _, base := range []string{"", "/", "/self-scaling", "/a/b/"} {
		t.Run("at "+base, func(t *testing.T) {
			h := Handler(base)
			root := strings.TrimRight(base, "/") + "/"
			res := ask(t, h, "GET", root, nil)
			if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/html; charset=utf-8" {
				t.Fatalf("%s: %s, %s", root, res.Status, res.Header.Get("Content-Type"))
			}
			page := body(t, res)
			total := len(page)
			for _, part := range parts(t, page) {
				res := ask(t, h, "GET", root+part, nil)
				total += len(body(t, res))
				if want := mimeTypes[path.Ext(part)]; res.StatusCode != http.StatusOK || want == "" || res.Header.Get("Content-Type") != want {
					t.Errorf("%s: %s, %s", part, res.Status, res.Header.Get("Content-Type"))
				}
			}
			if total > budget {
				t.Errorf("the page must have at most %d bytes, but has %d", budget, total)
			}
		})
	}
}

// A module that the page does not announce is found only once the one that
// imports it has come, which costs a round trip each.
func TestEveryModuleIsAnnounced(t *testing.T) {
	page, err := fs.Sub(embedded, "page")
	if err != nil {
		t.Fatal(err)
	}
	markup, err := fs.ReadFile(page, index)
	if err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(page, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".js" && path.Ext(name) != ".mjs" && path.Ext(name) != ".css" {
			return err
		}
		if !bytes.Contains(markup, []byte(`"`+placeholder+"/"+name+`"`)) {
			t.Errorf("%s does not name %s", index, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNothingElseIsServed(t *testing.T) {
	h := Handler("/self-scaling")
	folder := path.Dir(parts(t, body(t, ask(t, h, "GET", "/self-scaling/", nil)))[0])
	for _, tt := range []struct {
		name, method, target string
		status               int
		header, value        string
	}{
		{"the base leads to the page", "GET", "/self-scaling", http.StatusPermanentRedirect, "Location", "self-scaling/"},
		{"a longer word is not the base", "GET", "/self-scalings/", http.StatusNotFound, "", ""},
		{"outside the base", "GET", "/", http.StatusNotFound, "", ""},
		{"a path of the API", "GET", "/self-scaling/v1/components", http.StatusNotFound, "", ""},
		{"a folder", "GET", "/self-scaling/" + folder + "/", http.StatusNotFound, "", ""},
		{"the index by its name", "GET", "/self-scaling/" + folder + "/index.html", http.StatusNotFound, "", ""},
		{"another version's file", "GET", "/self-scaling/assets/0000000000000000/app.js", http.StatusNotFound, "", ""},
		{"a way out of the folder", "GET", "/self-scaling/" + folder + "/../../web.go", http.StatusNotFound, "", ""},
		{"writing", "POST", "/self-scaling/", http.StatusMethodNotAllowed, "Allow", "GET, HEAD"},
		{"the licence of a library", "GET", "/self-scaling/" + folder + "/vendor/uplot/LICENSE", http.StatusOK, "Content-Type", "text/plain; charset=utf-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := ask(t, h, tt.method, tt.target, nil)
			if res.StatusCode != tt.status || tt.header != "" && res.Header.Get(tt.header) != tt.value {
				t.Errorf("%s %s: %s, %s: %q; want %d, %q", tt.method, tt.target, res.Status, tt.header, res.Header.Get(tt.header), tt.status, tt.value)
			}
		})
	}
}

func TestHeadHasTheHeadersOfGet(t *testing.T) {
	h := Handler("")
	get, head := ask(t, h, "GET", "/", nil), ask(t, h, "HEAD", "/", nil)
	if got := body(t, head); got != "" {
		t.Errorf("HEAD answered %d bytes", len(got))
	}
	for name := range get.Header {
		if get.Header.Get(name) != head.Header.Get(name) {
			t.Errorf("%s: GET has %q, HEAD %q", name, get.Header.Get(name), head.Header.Get(name))
		}
	}
}

func TestPolicyAllowsOnlyThePagesOwn(t *testing.T) {
	res := ask(t, Handler(""), "GET", "/", nil)
	page := body(t, res)
	script := regexp.MustCompile(`(?s)<script type="importmap">(.*?)</script>`).FindStringSubmatch(page)[1]
	hash := sha256.Sum256([]byte(script))
	csp := res.Header.Get("Content-Security-Policy")
	for _, want := range []string{
		"default-src 'none'",
		"script-src 'self' 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'",
		"style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'",
		"require-trusted-types-for 'script'",
	} {
		if !slices.Contains(strings.Split(csp, "; "), want) {
			t.Errorf("policy must have %q, but is %q", want, csp)
		}
	}
	if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") || strings.Contains(csp, "http") {
		t.Errorf("policy is not strict: %q", csp)
	}
	for _, bad := range []string{`<script>`, `<style`, ` style=`, ` onclick=`, ` onload=`, `javascript:`, `//`} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s must be %q, but is %q", name, want, got)
		}
	}
}

// What the policy forbids at run time is not to be in the sources either.
func TestOwnModulesKeepThePolicy(t *testing.T) {
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|https?://`)
	page, err := fs.Sub(embedded, "page")
	if err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(page, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".js" || strings.HasPrefix(name, "vendor/") {
			return err
		}
		data, err := fs.ReadFile(page, name)
		if found := forbidden.Find(data); found != nil {
			t.Errorf("%s has %q", name, found)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestCaching(t *testing.T) {
	h := Handler("")
	page := ask(t, h, "GET", "/", nil)
	asset := "/" + parts(t, body(t, page))[0]
	for _, tt := range []struct{ target, control string }{{"/", "no-cache"}, {asset, "public, max-age=31536000, immutable"}} {
		first := ask(t, h, "GET", tt.target, nil)
		if got := first.Header.Get("Cache-Control"); got != tt.control {
			t.Errorf("%s: Cache-Control must be %q, but is %q", tt.target, tt.control, got)
		}
		etag := first.Header.Get("ETag")
		for _, sent := range []string{etag, "W/" + etag, `"x", ` + etag, "*"} {
			again := ask(t, h, "GET", tt.target, http.Header{"If-None-Match": {sent}})
			if again.StatusCode != http.StatusNotModified || body(t, again) != "" || again.Header.Get("ETag") != etag {
				t.Errorf("%s with If-None-Match %s: %s, ETag %s", tt.target, sent, again.Status, again.Header.Get("ETag"))
			}
		}
		if other := ask(t, h, "GET", tt.target, http.Header{"If-None-Match": {`"x"`}}); other.StatusCode != http.StatusOK {
			t.Errorf("%s with another ETag: %s", tt.target, other.Status)
		}
	}
}

func TestAssetsAreNamedByTheirContent(t *testing.T) {
	page := fstest.MapFS{
		index:    {Data: []byte(`<script type="importmap">{}</script><script src="{assets}/a.js"></script>`)},
		"a.js":   {Data: []byte("a")},
		"b/c.js": {Data: []byte("c")},
	}
	named := func() string {
		s, err := newSite(page)
		if err != nil {
			t.Fatal(err)
		}
		return string(s.files[""].plain)
	}
	before := named()
	if named() != before {
		t.Error("the same files have two names")
	}
	page["b/c.js"] = &fstest.MapFile{Data: []byte("changed")}
	if named() == before {
		t.Error("a changed file has the name of the one before")
	}
	delete(page, index)
	if _, err := newSite(page); err == nil {
		t.Error("a page without index was accepted")
	}
	page[index] = &fstest.MapFile{Data: []byte("no import map")}
	if _, err := newSite(page); err == nil {
		t.Error("an index without import map was accepted")
	}
}

func TestCompression(t *testing.T) {
	h := Handler("")
	plain := body(t, ask(t, h, "GET", "/", nil))
	for _, tt := range []struct {
		name   string
		accept []string
		zipped bool
	}{
		{"nothing asked for", nil, false},
		{"gzip", []string{"gzip"}, true},
		{"a browser's list", []string{"gzip, deflate, br, zstd"}, true},
		{"in two headers", []string{"br", "gzip;q=0.5"}, true},
		{"anything", []string{"*"}, true},
		{"anything but gzip", []string{"*, gzip;q=0"}, false},
		{"gzip with weight 0", []string{"gzip; q=0.0"}, false},
		{"a weight that is no number", []string{"gzip;q=high"}, false},
		{"only the word itself", []string{"identity"}, false},
		{"case does not matter", []string{"GZIP;Q=1"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := ask(t, h, "GET", "/", http.Header{"Accept-Encoding": tt.accept})
			got := body(t, res)
			if zipped := res.Header.Get("Content-Encoding") == "gzip"; zipped != tt.zipped {
				t.Fatalf("gzip: %v, want %v", zipped, tt.zipped)
			}
			if res.Header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("Vary is %q", res.Header.Get("Vary"))
			}
			if tt.zipped {
				r, err := gzip.NewReader(strings.NewReader(got))
				if err != nil {
					t.Fatal(err)
				}
				data, err := io.ReadAll(r)
				if err != nil {
					t.Fatal(err)
				}
				got = string(data)
			}
			if got != plain {
				t.Error("the content differs")
			}
		})
	}
	zipped := ask(t, h, "GET", "/", http.Header{"Accept-Encoding": {"gzip"}})
	if zipped.Header.Get("ETag") == ask(t, h, "GET", "/", nil).Header.Get("ETag") {
		t.Error("two encodings have one ETag")
	}
}

// The libraries are what their packages had, and each has its licence beside it.
func TestVendoredFilesAreUnchanged(t *testing.T) {
	vendor, err := fs.Sub(embedded, "page/vendor")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := fs.ReadFile(vendor, "SHA256SUMS")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for line := range strings.Lines(string(sums)) {
		want, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		data, err := fs.ReadFile(vendor, name)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := sha256.Sum256(data); hex.EncodeToString(got[:]) != want {
			t.Errorf("%s differs from the package's", name)
		}
		listed[name] = true
	}
	folders, err := fs.ReadDir(vendor, ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		if !folder.IsDir() {
			continue
		}
		if !listed[folder.Name()+"/LICENSE"] {
			t.Errorf("%s has no licence", folder.Name())
		}
		files, err := fs.ReadDir(vendor, folder.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if name := folder.Name() + "/" + f.Name(); !listed[name] {
				t.Errorf("%s is not in SHA256SUMS", name)
			}
		}
	}
}

// Paths that anybody may send give an answer, and never a file from elsewhere.
func FuzzPaths(f *testing.F) {
	for _, p := range []string{"/", "", "/assets/", "/assets/../web.go", "//", "/%2e%2e/web.go", "/index.html", "/self-scaling"} {
		f.Add(p)
	}
	h := Handler("/self-scaling")
	f.Fuzz(func(t *testing.T, p string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, &http.Request{Method: "GET", URL: &url.URL{Path: p}, Header: http.Header{}})
		if known := p == "/self-scaling" || strings.HasPrefix(p, "/self-scaling/"); !known && w.Code != http.StatusNotFound {
			t.Errorf("%q: %d", p, w.Code)
		}
	})
}
