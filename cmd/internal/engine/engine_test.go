package engine

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/self-scaling/self-scaling/controller/installation"
)

func TestStepsAreToldTheStoreByItsVariableWhereTheyHaveIt(t *testing.T) {
	const url = "s3://bucket?endpoint=store:9000"
	for _, tt := range []struct {
		variable, want string
	}{
		{"STORE_URL", "$(STORE_URL)"},
		{"AWS_ACCESS_KEY_ID", url},
	} {
		i := &installation.Installation{Env: []corev1.EnvVar{{Name: tt.variable}}}
		if got := storeOfSteps(i, url); got != tt.want {
			t.Errorf("with %s: %s, want %s", tt.variable, got, tt.want)
		}
	}
}
