// Package e2e holds the tests on a real Kubernetes:
//
//	make e2e
//
// They use the cluster of $KUBECONFIG or, where that is not set, the one that
// `make cluster` runs, and are built with the tag e2e alone. A cluster of one's
// own (kind, k3s) must have metrics-server, Argo Workflows with its server, and, in
// namespace argo, MinIO as the Service minio with the bucket self-scaling and a
// ServiceAccount executor for workflows; test/cluster/manifests/argo shows both.
// $IMAGE_REGISTRY and $IMAGE_TAG then say where the project's images are, those of
// test/load and busybox among them; kubectl, helm and argo must be in the PATH. What
// needs the machine that the cluster runs on is skipped there.
//
// Two groups are run by hand, because they take long and break what others need:
// `make e2e-faults` kills each part of a run in its midst, `make e2e-scale` simulates
// many components and pods.
//
// Lines with the word FIGURE tell what was measured.
package e2e
