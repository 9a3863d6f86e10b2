// Package clientset gives programs that need more of a cluster than package
// cluster knows the types of everything. It makes a program larger by some 25
// MB, so that the steps of a pipeline do without.
package clientset

import (
	"k8s.io/client-go/kubernetes"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/schemas"
)

// For returns the clients of all types, which share the connections and the
// limit of a client. It makes no request.
func For(c *cluster.Client) (kubernetes.Interface, error) {
	config, web := c.Config()
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	set, err := kubernetes.NewForConfigAndClient(config, web)
	if err != nil {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "cluster %s: %w", config.Host, err)
	}
	return set, nil
}
