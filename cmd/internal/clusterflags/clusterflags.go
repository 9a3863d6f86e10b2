// Package clusterflags gives the programs that work on a cluster the same flags
// to say which one, and what of it.
package clusterflags

import (
	"flag"
	"strings"
	"time"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/schemas"
)

// Flags are what a person has said.
type Flags struct {
	// Cluster says that there is a cluster to work on.
	Cluster bool
	// Namespace is the installation's own.
	Namespace string

	watch, labels string
}

// Register adds the flags to a set.
func (f *Flags) Register(set *flag.FlagSet) {
	set.BoolVar(&f.Cluster, "cluster", false, "work on the cluster that $KUBECONFIG names or, without, on the one that this pod runs in")
	set.StringVar(&f.Namespace, "namespace", "", "`namespace` of this installation")
	set.StringVar(&f.watch, "watch-namespaces", "", "`namespaces` whose components are seen, with commas between them (default: all)")
	set.StringVar(&f.labels, "labels", "", "`presets` of labels by which components are known, with commas between them: aeros, assist-iot, aeros-orchestrator, recommended, or a pair of keys as service-key=component-key (default: the named ones, in this order)")
}

// Scope returns which components are looked at.
func (f *Flags) Scope() (cluster.Scope, error) {
	var s cluster.Scope
	if f.watch != "" {
		for _, ns := range strings.Split(f.watch, ",") {
			ns = strings.TrimSpace(ns)
			if ns == "" {
				return s, schemas.Errorf(schemas.CodeInvalidConfig, "flag -watch-namespaces must be names with commas between them, but is %q", f.watch)
			}
			s.Namespaces = append(s.Namespaces, ns)
		}
	}
	if f.labels != "" {
		presets, err := cluster.ParsePresets(f.labels)
		if err != nil {
			return s, schemas.Errorf(schemas.CodeInvalidConfig, "flag -labels: %w", err)
		}
		s.Presets = presets
	}
	return s, nil
}

// requestTimeout ends a request that the API server does not answer. It is far
// above what a page of a list takes, and below what a step may take.
const requestTimeout = 30 * time.Second

// Connect returns a client for a program that makes requests and watches
// nothing. It makes none itself.
func (f *Flags) Connect() (*cluster.Client, error) {
	config, err := cluster.LoadConfig()
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "flag -cluster: %w", err)
	}
	config.Timeout = requestTimeout
	return cluster.NewClient(config)
}
