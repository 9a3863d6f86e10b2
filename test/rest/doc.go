// Package rest holds the REST interface's program to its figures: answers from what it
// has in memory and in its cache under a steady load, the most of them that it can
// give, its memory, and reads that go on while the store does not answer. The tests
// take minutes and want the machine for themselves, so that they are run by hand, by
// make load.
package rest
