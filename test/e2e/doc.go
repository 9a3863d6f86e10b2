// Package e2e holds the tests on a real Kubernetes:
//
//	make e2e
//
// They use the cluster of $KUBECONFIG or, where that is not set, the one that
// `make cluster` runs, and are built with the tag e2e alone. A cluster of one's
// own must have metrics-server, Argo Workflows and, in namespace argo, an S3 store
// as the Service minio and a ServiceAccount executor for workflows; $IMAGES is then
// the prefix, and $IMAGE_TAG the tag, under which it finds the project's images.
package e2e
