package chart_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	psaapi "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// The Jobs that are made where there is no Argo, as their golden files hold them.
func TestPlainJobsKeepTheStandardRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../workflows/batch/testdata/*.yaml")
	if err != nil || len(files) != 4 {
		t.Fatalf("there are the golden files %v, %v, want four", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for doc := range strings.SplitSeq(strings.TrimPrefix(string(data), "---\n"), "\n---\n") {
			var j batchv1.Job
			if err := yaml.UnmarshalStrict([]byte(doc), &j); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			pod := j.Spec.Template
			for _, result := range evaluator.EvaluatePod(psaapi.LevelVersion{Level: psaapi.LevelRestricted, Version: psaapi.LatestVersion()}, &pod.ObjectMeta, &pod.Spec) {
				if !result.Allowed {
					t.Errorf("%s: %s: %s: %s", file, j.Name, result.ForbiddenReason, result.ForbiddenDetail)
				}
			}
		}
	}
}
