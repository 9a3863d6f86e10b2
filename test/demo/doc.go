// Package demo holds the demonstration to what is promised of it, by building
// and running the real command: make test-demo.
package demo
