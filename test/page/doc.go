// Package page holds the web page to what it promises, in a real browser: what each
// view shows, by mouse and by keyboard alone, in both colours and on a narrow
// screen, where data is missing and where the server is gone; that nothing is
// written to the console, and that axe-core finds nothing serious.
//
//	make test-page
//
// needs Chromium and installs it where it is missing on Debian. The page is served
// by the real interface over a store that the real steps have filled, from real
// usage on a simulated cluster. The tests are a module of their own, because they
// drive a browser, and behind a build tag, because not everybody has one.
package page
