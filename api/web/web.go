// Package web is the page that operators look at: the components and their
// modes, charts, decisions in words, runs and accuracy. It is a handful of ES
// modules and a style sheet below page/, embedded as they lie there, so that a
// plain go build contains them and no other tool is needed to change them.
//
// The page has no data of its own. It asks the API, which it finds at v1/ beside
// itself, and so works behind any prefix that a proxy puts before both.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

//go:embed page
var embedded embed.FS

const (
	index = "index.html"
	// placeholder stands in index.html for the folder of all other files.
	placeholder = "{assets}"
	// minGzip is the size in bytes from which compressing pays.
	minGzip = 512
)

// Assets are named by their content and so never change; the page that names
// them is asked for again each time, and usually answered with 304.
const (
	cacheForever = "public, max-age=31536000, immutable"
	cacheNever   = "no-cache"
)

var mimeTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".mjs":  "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// file is one file as it is sent.
type file struct {
	mime, etag    string
	plain, zipped []byte // zipped is nil where it would not be smaller
}

// site is everything that is served, by path below the base.
type site struct {
	files map[string]*file
	// policy is the page's Content-Security-Policy.
	policy string
}

var build = sync.OnceValues(func() (*site, error) {
	page, err := fs.Sub(embedded, "page")
	if err != nil {
		return nil, err
	}
	return newSite(page)
})

// Handler serves the page below base, the path that the API is seen at: "" or
// "/" for a server's root, else as in "/self-scaling". It answers base itself
// with a redirect, and 404 for whatever is not part of the page.
func Handler(base string) http.Handler {
	s, err := build()
	if err != nil {
		panic(err) // the files are part of the program: a test builds them
	}
	return &handler{base: strings.TrimRight(base, "/"), site: s}
}

// newSite reads the files below root. All but the index go into a folder named
// by the hash of them all, so that modules find each other by relative names
// and a browser never mixes two versions.
func newSite(root fs.FS) (*site, error) {
	contents := map[string][]byte{}
	sum := sha256.New()
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error { // in lexical order
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		contents[name] = data
		if name != index {
			fmt.Fprintf(sum, "%s %d\n", name, len(data))
			sum.Write(data)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	folder := "assets/" + hex.EncodeToString(sum.Sum(nil))[:16]

	s := &site{files: map[string]*file{}}
	for name, data := range contents {
		at := path.Join(folder, name)
		if name == index {
			at = ""
			data = bytes.ReplaceAll(data, []byte(placeholder), []byte(folder))
			if s.policy, err = policy(data); err != nil {
				return nil, err
			}
		}
		f := &file{plain: data, mime: mimeTypes[path.Ext(name)]}
		if f.mime == "" {
			f.mime = "text/plain; charset=utf-8"
		}
		hash := sha256.Sum256(data)
		f.etag = hex.EncodeToString(hash[:12])
		if f.zipped, err = zip(data); err != nil {
			return nil, err
		}
		s.files[at] = f
	}
	if s.files[""] == nil {
		return nil, fmt.Errorf("page has no %s", index)
	}
	return s, nil
}

// policy returns the Content-Security-Policy of the page: nothing but its own
// files and the API beside it, nobody may frame it, and no string becomes
// markup. The one inline script is the import map, for which browsers allow no
// file; it is admitted by its hash.
func policy(page []byte) (string, error) {
	const open, end = `<script type="importmap">`, `</script>`
	_, after, found := bytes.Cut(page, []byte(open))
	script, _, closed := bytes.Cut(after, []byte(end))
	if !found || !closed {
		return "", fmt.Errorf("%s has no import map", index)
	}
	hash := sha256.Sum256(script)
	return strings.Join([]string{
		"default-src 'none'",
		"script-src 'self' 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'",
		"style-src 'self'",
		"img-src 'self'",
		"connect-src 'self'",
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
		"require-trusted-types-for 'script'",
		"trusted-types 'none'",
	}, "; "), nil
}

// zip compresses data, or returns nil where that does not pay.
func zip(data []byte) ([]byte, error) {
	if len(data) < minGzip {
		return nil, nil
	}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if b.Len() >= len(data) {
		return nil, nil
	}
	return b.Bytes(), nil
}

type handler struct {
	base string
	site *site
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	below, ok := strings.CutPrefix(r.URL.Path, h.base)
	name := strings.TrimPrefix(below, "/")
	f := h.site.files[name]
	if !ok || below != "" && below[0] != '/' || f == nil {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method must be GET or HEAD, but is "+strconv.Quote(r.Method), http.StatusMethodNotAllowed)
		return
	}
	if below == "" {
		// Relative, so that it leads to the right place behind a proxy that
		// takes a prefix away.
		w.Header().Set("Location", path.Base(h.base)+"/")
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	h.send(w, r, name, f)
}

func (h *handler) send(w http.ResponseWriter, r *http.Request, name string, f *file) {
	header := w.Header()
	header.Set("Content-Type", f.mime)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Vary", "Accept-Encoding")
	if name == "" {
		header.Set("Cache-Control", cacheNever)
		header.Set("Content-Security-Policy", h.site.policy)
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Frame-Options", "DENY")
	} else {
		header.Set("Cache-Control", cacheForever)
	}

	body, etag := f.plain, `"`+f.etag+`"`
	if f.zipped != nil && acceptsGzip(r.Header.Values("Accept-Encoding")) {
		body, etag = f.zipped, `"`+f.etag+`-gzip"`
		header.Set("Content-Encoding", "gzip")
	}
	header.Set("ETag", etag)
	if matches(r.Header.Values("If-None-Match"), etag) {
		header.Del("Content-Encoding")
		header.Del("Content-Type")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		w.Write(body) // an error means that the reader is gone
	}
}

// acceptsGzip reads an Accept-Encoding as RFC 9110, 12.5.3: gzip, named or by
// "*", with a weight that is not 0. Without the header it is not sent.
func acceptsGzip(values []string) bool {
	any := false
	for coding := range strings.SplitSeq(strings.Join(values, ","), ",") {
		name, parameters, _ := strings.Cut(coding, ";")
		weight := 1.0
		if q, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(parameters)), "q="); ok {
			weight, _ = strconv.ParseFloat(q, 64) // 0 where it is no number
		}
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "gzip", "x-gzip":
			return weight > 0
		case "*":
			any = weight > 0
		}
	}
	return any
}

// matches reads an If-None-Match as RFC 9110, 13.1.2: weakly.
func matches(values []string, etag string) bool {
	for tag := range strings.SplitSeq(strings.Join(values, ","), ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == etag || tag == "*" {
			return true
		}
	}
	return false
}
