// Package crash holds the programs of the steps to their promise that they may
// be killed at any moment and begun anew: what is committed in the end is the
// same, byte for byte, and a reader never meets anything torn.
package crash
