// Package crash holds the programs of the steps to what they promise for the day
// when something breaks. They may be killed at any moment and begun anew: what
// is committed in the end is the same, byte for byte, and a reader never meets
// anything torn. And where the store does not work, they say so in one line and
// end soon, with a code that says whether to try again.
package crash
