module github.com/self-scaling/self-scaling/test/cluster/tools/argo-v3

go 1.26.0

require github.com/argoproj/argo-workflows/v3 v3.7.18

tool (
	github.com/argoproj/argo-workflows/v3/cmd/argo
	github.com/argoproj/argo-workflows/v3/cmd/argoexec
	github.com/argoproj/argo-workflows/v3/cmd/workflow-controller
)
