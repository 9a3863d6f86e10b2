// Package view is what the REST interface reads from: the newest content of the
// store, held so that reading it costs the store nothing.
//
// A [View] looks for new heads every few seconds and loads what is new in the
// background. Where the store does not answer it goes on with what it has, and
// [View.State] says since when.
//
// # What it holds where
//
// The forecasts and the decisions of ten thousand components are some hundred
// megabytes of JSON. They are written to a file without a name as the bytes that
// are later sent, and read from there, mostly from the system's page cache, which
// the system takes back when it needs the memory. In memory is only where each of
// them begins. The same goes for earlier decisions that somebody has asked for, up
// to a budget, and for the files of samples that histories are read from.
package view
