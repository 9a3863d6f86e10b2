// Package tools pins the programs that the test cluster builds: the tool lines of
// its go.mod. None of them becomes a dependency of the product.
package tools
