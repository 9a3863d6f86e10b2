package columnar

// Reseal gives changed bytes a checksum that fits, where there is still a place
// for one.
func Reseal(data []byte) {
	if at := checksumAt(data); at >= 0 {
		copy(data[at:], checksum(data, at))
	}
}
