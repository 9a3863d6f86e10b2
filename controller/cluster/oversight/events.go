package oversight

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/self-scaling/self-scaling/controller"
	"github.com/self-scaling/self-scaling/controller/cluster"
	"github.com/self-scaling/self-scaling/controller/cluster/clientset"
	"github.com/self-scaling/self-scaling/schemas/v1alpha1"
)

// Events tells of changes in Events of Kubernetes: about a service on its policy, about
// the installation on the pod that the controller runs in. Many of one kind are counted
// together, and beyond some tens about one object they are dropped, as client-go does.
type Events struct {
	oversight   *Oversight
	pod         corev1.ObjectReference
	broadcaster record.EventBroadcaster
	recorder    record.EventRecorder
}

// NewEvents returns what tells of changes. Pod and namespace are those of the program.
// Stop it after use.
func NewEvents(o *Oversight, namespace, pod string) (*Events, error) {
	all, err := clientset.For(o.client)
	if err != nil {
		return nil, err
	}
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: all.CoreV1().Events("")})
	return &Events{
		oversight:   o,
		pod:         corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: namespace, Name: cmp.Or(pod, "controller")},
		broadcaster: broadcaster,
		recorder:    broadcaster.NewRecorder(runtime.NewScheme(), corev1.EventSource{Component: cluster.FieldManager}),
	}, nil
}

// Notify tells of a change. It does not wait for the API server.
func (e *Events) Notify(n controller.Notice) {
	about := e.pod
	if n.Service != "" {
		about = e.oversight.reference(cluster.ServiceKey{Namespace: n.Namespace, Service: n.Service})
	}
	kind := corev1.EventTypeNormal
	if n.Warning {
		kind = corev1.EventTypeWarning
	}
	e.recorder.Event(&about, kind, n.Reason, shorten(n.Message))
}

// shorten keeps a message within the 1024 bytes that an Event may have.
func shorten(message string) string {
	const most = 1000
	if len(message) <= most {
		return message
	}
	end := most
	for end > 0 && message[end]&0xC0 == 0x80 { // not within a character
		end--
	}
	return message[:end] + "..."
}

// Stop drops what has not been sent yet.
func (e *Events) Stop() { e.broadcaster.Shutdown() }

// reference returns the reference to a service's policy.
func (o *Oversight) reference(key cluster.ServiceKey) corev1.ObjectReference {
	out := corev1.ObjectReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind, Namespace: key.Namespace, Name: cluster.PolicyName(key.Service)}
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := o.policies[key]; p != nil {
		out.Name, out.UID, out.ResourceVersion = p.Name, p.UID, p.ResourceVersion
	}
	return out
}
