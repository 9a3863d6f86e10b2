// Package hpaoracle compares the autoscaler of the simulated cluster
// (controller/sim/hpa) with the one of Kubernetes, and the manifests that we
// write with the validation of its API server. It is a module of its own,
// because it links Kubernetes. From the top folder:
//
//	cd test/hpaoracle && go test ./...
//
// After a change of the product's go.mod this one may need "go mod tidy" too;
// go test says so.
package hpaoracle
