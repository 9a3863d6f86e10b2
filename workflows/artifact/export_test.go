package artifact

import (
	"bytes"
	"strings"
)

// Sealed gives any text that ends as an object does its right sum.
func Sealed(body string) []byte {
	body = strings.TrimSpace(body)
	if !strings.HasSuffix(body, "}") {
		body += "}"
	}
	sum := sumOf([]byte(body))
	return append(bytes.TrimSuffix([]byte(body), []byte("}")), sealOpen+sum+sealClose...)
}

// Bucket returns the bucket that a store keeps its objects in.
func (s *Store) Bucket() Bucket { return s.bucket }
