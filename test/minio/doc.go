// Package minio holds the store's tests on a real MinIO server, which its test
// builds, starts on this machine's loopback address and stops:
//
//	go test -count=1 -tags minio ./test/minio
//
// The first time this builds the server from its Go module, which takes a few
// minutes of two processors, and keeps the binary in the user's cache folder.
// MinIO is under the AGPL: it is run, and never linked.
package minio
