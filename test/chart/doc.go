// Package chart holds the Helm chart to what it promises. Its tests render the chart
// with Helm's own engine, for many values, and ask Kubernetes' and Argo's own code
// what they think of the result. They are a module of their own, because none of that
// code may reach the product's.
//
// Some of the chart's files are generated, so that chart and program never differ:
// the Workflows from workflows/argo, the CustomResourceDefinition from
// schemas/v1alpha1. Make them again with
//
//	go test ./... -rewrite
package chart
