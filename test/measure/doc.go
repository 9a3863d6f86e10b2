// Package measure holds measurements that take minutes and a machine that does
// nothing else: what training costs as a fleet grows, and what its accuracy loses
// where it fans out over shards.
//
//	go test -count=1 -timeout 1h -tags measure -v ./test/measure
package measure
