package crd

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/self-scaling/self-scaling/schemas/v1alpha1"
)

var rewrite = flag.Bool("rewrite", false, "write the golden file anew")

// definition returns the CRD as the API server holds it.
func definition(t *testing.T) *apiextensions.CustomResourceDefinition {
	t.Helper()
	var v1 apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(v1alpha1.CRD, &v1); err != nil {
		t.Fatal(err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(&v1)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&v1.Spec)
	v1.Status.StoredVersions = []string{"v1alpha1"}
	var out apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&v1, &out, nil); err != nil {
		t.Fatal(err)
	}
	return &out
}

func TestTheServerAcceptsTheDefinition(t *testing.T) {
	if errs := crdvalidation.ValidateCustomResourceDefinition(t.Context(), definition(t)); len(errs) > 0 {
		t.Error(errs.ToAggregate())
	}
}

// validator says what the API server says of an object, and of a change of it.
func validator(t *testing.T) func(object, old map[string]any) string {
	t.Helper()
	s, err := apiextensions.GetSchemaForVersion(definition(t), "v1alpha1")
	if err != nil {
		t.Fatal(err)
	}
	structural, err := schema.NewStructural(s.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	fields, _, err := validation.NewSchemaValidator(s.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	rules := cel.NewValidator(structural, true, celconfig.PerCallLimit)
	return func(object, old map[string]any) string {
		pruned := pruning.PruneWithOptions(runtime.DeepCopyJSON(object), structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
		errs := validation.ValidateCustomResource(nil, object, fields)
		errs = append(errs, listtype.ValidateListSetsAndMaps(nil, structural, object)...)
		var before any
		if old != nil {
			before = old
		}
		more, _ := rules.Validate(t.Context(), nil, structural, object, before, celconfig.RuntimeCELCostBudget)
		errs = append(errs, more...)
		var text []string
		for _, path := range pruned {
			text = append(text, "unknown field "+path)
		}
		for _, e := range errs {
			text = append(text, e.Error())
		}
		return strings.Join(text, "\n")
	}
}

func object(t *testing.T, spec string) map[string]any {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte("apiVersion: self-scaling.github.io/v1alpha1\nkind: ScalingPolicy\nmetadata: {name: shop, namespace: ns}\nspec: " + spec))
	if err != nil {
		t.Fatal(err)
	}
	var o unstructured.Unstructured
	if err := o.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return o.Object
}

func TestWhatTheServerLetsIn(t *testing.T) {
	ask := validator(t)
	for _, tt := range []struct {
		name, spec string
		want       string // part of the refusal, empty where it is let in
	}{
		{"the service alone", `{service: shop}`, ""},
		{"no service", `{mode: Auto}`, "spec.service: Required value"},
		{"a service that no label can have", `{service: "-shop"}`, "spec.service: Invalid value"},
		{"Off without quotes", `{service: shop, mode: Off}`, ""},
		{"Off with quotes", `{service: shop, mode: "Off"}`, ""},
		{"On", `{service: shop, mode: On}`, `supported values: "Off", "Shadow", "Auto"`},
		{"a mode of another case", `{service: shop, mode: auto}`, `supported values: "Off", "Shadow", "Auto"`},
		{"everything", `{service: shop, mode: Auto, minReplicas: 2, maxReplicas: 9, cpuUtilization: 70, memoryUtilization: 80, peakUtilization: 100, quantile: 95, leadTime: 1m30s, hold: 0s, maxStep: 3, profile: default,
			components: [{name: web, mode: Shadow, minReplicas: 3, maxReplicas: 5, leadTime: 1.5h}, {name: db, mode: Off}]}`, ""},
		{"a component without a name", `{service: shop, components: [{mode: Auto}]}`, "components[0].name: Required value"},
		{"a component twice", `{service: shop, components: [{name: web}, {name: web}]}`, "components[1]: Duplicate value"},
		{"bounds the wrong way round", `{service: shop, minReplicas: 5, maxReplicas: 4}`, "minReplicas must not be above maxReplicas"},
		{"bounds of a component the wrong way round", `{service: shop, components: [{name: web, minReplicas: 5, maxReplicas: 4}]}`, `components[0]: Invalid value: "object": minReplicas must not be above maxReplicas`},
		{"no replicas at all", `{service: shop, minReplicas: 0}`, "spec.minReplicas: Invalid value"},
		{"a quantile of 100 %", `{service: shop, quantile: 100}`, "spec.quantile: Invalid value"},
		{"a quantile as a fraction", `{service: shop, quantile: 0.9}`, "spec.quantile: Invalid value"},
		{"a lead time without a unit", `{service: shop, leadTime: "90"}`, "spec.leadTime: Invalid value"},
		{"a lead time of days", `{service: shop, leadTime: 25h}`, "must be from 0s to 24h"},
		{"a negative hold", `{service: shop, components: [{name: web, hold: -1s}]}`, "hold: Invalid value"},
		{"a field that nobody knows", `{service: shop, minReplica: 3}`, "unknown field spec.minReplica"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ask(object(t, tt.spec), nil)
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTheServiceCannotBeChanged(t *testing.T) {
	ask := validator(t)
	if got := ask(object(t, `{service: other}`), object(t, `{service: shop}`)); !strings.Contains(got, "service cannot be changed") {
		t.Errorf("got %q, want a refusal", got)
	}
	if got := ask(object(t, `{service: shop, mode: Auto}`), object(t, `{service: shop}`)); got != "" {
		t.Errorf("got %q, want another mode let in", got)
	}
}

// What kubectl get prints, wide.
func TestColumns(t *testing.T) {
	var v1 apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(v1alpha1.CRD, &v1); err != nil {
		t.Fatal(err)
	}
	table, err := tableconvertor.New(v1.Spec.Versions[0].AdditionalPrinterColumns)
	if err != nil {
		t.Fatal(err)
	}
	ago := time.Now().Add(-5 * time.Minute).UTC().Format(time.RFC3339)
	shop := object(t, `{service: shop, mode: Off}`)
	shop["metadata"].(map[string]any)["creationTimestamp"] = ago
	var status map[string]any
	if err := yaml.Unmarshal([]byte(`
mode: Auto
summary: 1/2
replicas: web=5 db=1
lastForecast: `+ago+`
conditions: [{type: Conflict, status: "False", reason: None}, {type: Ready, status: "True", reason: FloorRaised}]
components: [{name: web, floor: 5, applied: true}, {name: db, floor: 1, applied: false}]
`), &status); err != nil {
		t.Fatal(err)
	}
	shop["status"] = status
	fresh := object(t, `{service: fresh}`)
	fresh["metadata"].(map[string]any)["creationTimestamp"] = ago
	list := &unstructured.UnstructuredList{Items: []unstructured.Unstructured{{Object: shop}, {Object: fresh}}}
	out, err := table.ConvertToTable(t.Context(), list, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for i, c := range out.ColumnDefinitions {
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		fmt.Fprint(w, strings.ToUpper(c.Name))
	}
	fmt.Fprintln(w)
	for _, row := range out.Rows {
		for i, c := range row.Cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			if c == nil {
				c = "<none>"
			}
			fmt.Fprint(w, c)
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/columns.txt"
	if *rewrite {
		if err := os.WriteFile(golden, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
}
