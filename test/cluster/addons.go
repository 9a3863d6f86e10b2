package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

//go:embed manifests
var manifests embed.FS

// An addon is what is installed into the cluster with kubectl.
type addon struct {
	name, namespace string
	deployments     []string
	sources         string // folder of its upstream manifests; "": it has none
}

// installAddons applies the addons and waits until they answer. Our manifests lie
// in manifests/<name>, with an overlay over those that the addon's module has.
func (c *cluster) installAddons(ctx context.Context) error {
	metrics, err := c.box.moduleDir(ctx, "sigs.k8s.io/metrics-server", metricsServerVersion)
	if err != nil {
		return err
	}
	argo, err := c.box.moduleDir(ctx, argoModule(c.argo), c.argo)
	if err != nil {
		return err
	}
	addons := []addon{
		{name: "coredns", namespace: "kube-system", deployments: []string{"coredns"}},
		{name: "metrics-server", namespace: "kube-system", deployments: []string{"metrics-server"}, sources: filepath.Join(metrics, "manifests")},
		{name: "argo", namespace: "argo", deployments: []string{"minio", "workflow-controller", "argo-server"}, sources: filepath.Join(argo, "manifests")},
	}
	for _, a := range addons {
		if err := c.install(ctx, a); err != nil {
			return fmt.Errorf("installing %s: %w", a.name, err)
		}
	}
	for _, a := range addons {
		for _, name := range a.deployments {
			if err := c.awaitDeployment(ctx, a.namespace, name); err != nil {
				return err
			}
		}
	}
	return await(ctx, "kubectl top answers", 3*time.Minute, []daemon{c.daemon("kubelet")}, func() error {
		_, err := c.kubectl(ctx, "", "top", "node", nodeName)
		return err
	})
}

func (c *cluster) install(ctx context.Context, a addon) error {
	dir := c.file("manifests/" + a.name)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// Module folders are read-only, and kustomize wants its bases near by.
	if a.sources != "" {
		if err := os.CopyFS(filepath.Join(dir, "upstream"), os.DirFS(a.sources)); err != nil {
			return err
		}
	}
	entries, err := manifests.ReadDir("manifests/" + a.name)
	if err != nil {
		return err
	}
	for _, e := range entries {
		text, err := manifests.ReadFile("manifests/" + a.name + "/" + e.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), text, 0o644); err != nil {
			return err
		}
	}
	all, err := c.kubectl(ctx, "", "kustomize", dir)
	if err != nil {
		return err
	}
	// Twice: what is of a kind that the first round defines comes with the second.
	return poll(ctx, time.Minute, time.Second, func() error {
		_, err := c.kubectl(ctx, all, "apply", "--server-side", "--force-conflicts", "--filename=-")
		return err
	})
}

// awaitDeployment waits until all pods of a deployment are Ready. Its error tells
// how they stand and what they logged.
func (c *cluster) awaitDeployment(ctx context.Context, namespace, name string) error {
	err := await(ctx, "deployment "+namespace+"/"+name+" is ready", 3*time.Minute, []daemon{c.daemon("kubelet")}, func() error {
		out, err := c.kubectl(ctx, "", "get", "deployment", name, "--namespace="+namespace, "--output=json")
		if err != nil {
			return err
		}
		var d struct {
			Metadata struct{ Generation int }
			Spec     struct{ Replicas int }
			Status   struct{ ObservedGeneration, UpdatedReplicas, ReadyReplicas, Replicas int }
		}
		if err := json.Unmarshal([]byte(out), &d); err != nil {
			return err
		}
		if s := d.Status; s.ObservedGeneration != d.Metadata.Generation || s.UpdatedReplicas != d.Spec.Replicas || s.ReadyReplicas != d.Spec.Replicas || s.Replicas != d.Spec.Replicas {
			return fmt.Errorf("%d of %d pods are ready", s.ReadyReplicas, d.Spec.Replicas)
		}
		return nil
	})
	if err == nil {
		return nil
	}
	var explained strings.Builder
	for _, args := range [][]string{
		{"get", "pods", "--output=wide"}, {"get", "events", "--sort-by=.lastTimestamp"}, {"logs", "deployment/" + name, "--all-containers", "--tail=30"},
	} {
		out, runErr := c.kubectl(ctx, "", append(args, "--namespace="+namespace)...)
		fmt.Fprintf(&explained, "\n--- kubectl %s\n%s", strings.Join(args, " "), tail(out, 30))
		if runErr != nil {
			fmt.Fprint(&explained, runErr)
		}
	}
	return errors.Join(err, errors.New(explained.String()))
}
