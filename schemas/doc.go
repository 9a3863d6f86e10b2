// Package schemas holds the nouns that travel between the parts of
// self-scaling: components and their usage, datasets, models, forecasts and
// decisions, with their units, their validation, the error codes and the
// object keys.
//
// It imports nothing of the project, so that every other package may import
// it. Numbers are float64 in base units everywhere: cores for CPU, bytes for
// memory. A quantity that is not known is absent (a nil pointer, a missing map
// entry or, inside a [Series], a NaN), never zero. Times are UTC, and a bucket
// is named by its start.
package schemas
