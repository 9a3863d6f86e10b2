// Package wire holds the shapes of the modern REST interface: what the server
// sends, its client reads and the page shows. Each field says in its doc tag what
// the OpenAPI description says of it.
//
// Times are RFC 3339 in UTC. Quantities are in base units, cores and bytes, and
// durations are spelled as Go spells them ("2m0s"). What is not known is absent
// or null, never zero. A list has its entries in items, and in next the cursor
// that the query parameter cursor takes for the entries after them.
//
// The interface of the original, on the paths that it had, is no part of this
// package: it is spelled out in package api.
package wire
