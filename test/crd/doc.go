// Package crd holds the CustomResourceDefinition of schemas/v1alpha1 to what the
// API server makes of it: that it is accepted, which objects it lets in, and
// what kubectl prints.
package crd
