package usage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/jobs/collector"
	"github.com/self-scaling/self-scaling/schemas"
)

// The port at which pods serve [Path]: the container port of this name or, where
// they name none, this number.
const (
	PortName    = "metrics"
	DefaultPort = 9090
)

// maxAnswer bounds what is read from one pod, in bytes.
const maxAnswer = 256 << 20

// RemoteOptions say whom a [Remote] asks.
type RemoteOptions struct {
	// Namespace and Selector, a label selector, find the pods that sample.
	Namespace, Selector string
	// Timeout is how long one pod may take to answer; 20 seconds where 0.
	Timeout time.Duration
	Log     *slog.Logger // the default one where nil
}

// Remote is a [collector.Source] over what the samplers of other pods have read.
// It asks all Ready ones at once, by their addresses, and believes for each
// component and bucket the one that read it most often, so that a pod that is
// gone, or has only just started, does not matter.
type Remote struct {
	client *cluster.Client
	opts   RemoteOptions
	web    *http.Client
}

var _ collector.Source = (*Remote)(nil)

// NewRemote returns a source that has asked nobody yet.
func NewRemote(client *cluster.Client, opts RemoteOptions) (*Remote, error) {
	if opts.Namespace == "" {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "flag -namespace must name the namespace of the controller")
	}
	if s, err := labels.Parse(opts.Selector); err != nil || s.Empty() {
		return nil, schemas.Errorf(schemas.CodeInvalidConfig, "selector of the controller's pods must be a label selector such as app=controller, but is %q", opts.Selector)
	}
	opts.Timeout = cmp.Or(opts.Timeout, 20*time.Second)
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	return &Remote{client, opts, &http.Client{
		Timeout: opts.Timeout,
		// Pods are asked at their own addresses, whatever proxy leads out of the cluster.
		Transport:     &http.Transport{DialContext: (&net.Dialer{Timeout: opts.Timeout / 4}).DialContext, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Samples implements [collector.Source]. It is an error with
// [schemas.CodeUnavailable], which says where to look, that no pod answers.
func (r *Remote) Samples(ctx context.Context, from, to time.Time, step time.Duration, add func(*schemas.Sample) error) error {
	pods, err := r.pods(ctx)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return schemas.Errorf(schemas.CodeUnavailable, "no pod of the controller is Ready in namespace %[1]s with labels %[2]s: look at kubectl -n %[1]s get pods -l '%[2]s'", r.opts.Namespace, r.opts.Selector)
	}
	answers := make([][]schemas.Sample, len(pods))
	failures := make([]error, len(pods))
	var group errgroup.Group
	group.SetLimit(8)
	for i, p := range pods {
		group.Go(func() error {
			answers[i], failures[i] = r.ask(ctx, p, from, to, step)
			return nil
		})
	}
	_ = group.Wait() // who fails says so in failures
	if err := ctx.Err(); err != nil {
		return err
	}
	answered := 0
	for i, err := range failures {
		if err == nil {
			answered++
			continue
		}
		r.opts.Log.Warn("a controller did not tell its readings", "pod", pods[i].name, "error", err)
	}
	if answered == 0 {
		return schemas.Errorf(schemas.CodeUnavailable, "no controller told its readings; %s: %w (look at kubectl -n %s logs -l '%s', and whether a NetworkPolicy keeps this pod from port %s)",
			pods[0].name, failures[0], r.opts.Namespace, r.opts.Selector, pods[0].port())
	}
	for _, x := range best(answers) {
		if err := add(x); err != nil {
			return err
		}
	}
	return nil
}

// best returns the sample with the most readings of each component and bucket,
// of equals the first, by bucket and component.
func best(answers [][]schemas.Sample) []*schemas.Sample {
	type key struct {
		component schemas.ComponentID
		start     time.Time
	}
	found := map[key]*schemas.Sample{}
	for _, samples := range answers {
		for i := range samples {
			x := &samples[i]
			k := key{x.Component, x.Start}
			if old := found[k]; old == nil || x.Readings() > old.Readings() {
				found[k] = x
			}
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b *schemas.Sample) int {
		return cmp.Or(a.Start.Compare(b.Start), a.Component.Compare(b.Component))
	})
}

type pod struct{ name, address string }

func (p *pod) port() string {
	_, port, _ := net.SplitHostPort(p.address)
	return port
}

// pods returns the Ready pods that sample, by name.
func (r *Remote) pods(ctx context.Context) ([]pod, error) {
	var list corev1.PodList
	if err := r.client.List(ctx, cluster.Pods, r.opts.Namespace, metav1.ListOptions{LabelSelector: r.opts.Selector}, &list); err != nil {
		return nil, cluster.Error("find the controller's pods in namespace "+r.opts.Namespace, err)
	}
	var out []pod
	for i := range list.Items {
		p := &list.Items[i]
		ready := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		if ready && p.Status.PodIP != "" {
			out = append(out, pod{p.Name, net.JoinHostPort(p.Status.PodIP, strconv.Itoa(int(port(&p.Spec))))})
		}
	}
	slices.SortFunc(out, func(a, b pod) int { return cmp.Compare(a.name, b.name) })
	return out, nil
}

func port(spec *corev1.PodSpec) int32 {
	for i := range spec.Containers {
		for _, p := range spec.Containers[i].Ports {
			if p.Name == PortName {
				return p.ContainerPort
			}
		}
	}
	return DefaultPort
}

// ask returns the whole answer of one pod, or why there is none.
func (r *Remote) ask(ctx context.Context, p pod, from, to time.Time, step time.Duration) ([]schemas.Sample, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+Path+"?"+query(from, to, step), nil)
	if err != nil {
		return nil, err
	}
	res, err := r.web.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 500)) // as much of the reason as there is
		return nil, fmt.Errorf("%s answered %s: %s", p.address, res.Status, strings.Join(strings.Fields(string(text)), " "))
	}
	var out []schemas.Sample
	body := &io.LimitedReader{R: res.Body, N: maxAnswer}
	lines := json.NewDecoder(body)
	for {
		var x schemas.Sample
		switch err := lines.Decode(&x); {
		case errors.Is(err, io.EOF) && body.N > 0:
			return out, nil
		case body.N <= 0:
			return nil, fmt.Errorf("answer of %s must be at most %d bytes long", p.address, int64(maxAnswer))
		case err != nil:
			return nil, fmt.Errorf("answer of %s: sample %d: %w", p.address, len(out)+1, err)
		}
		x.Start = x.Start.UTC()
		if err := x.Validate(step); err != nil {
			return nil, fmt.Errorf("answer of %s: sample %d: %w", p.address, len(out)+1, err)
		}
		if x.Start.Before(from) || !x.Start.Before(to) {
			return nil, fmt.Errorf("answer of %s: sample %d: start must be within what was asked for, but is %s", p.address, len(out)+1, x.Start.Format(time.RFC3339))
		}
		out = append(out, x)
	}
}
