package chart_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/cmd/selfscale/internal/chart"
	"github.com/self-scaling/self-scaling/controller/sim/traces"
	"github.com/self-scaling/self-scaling/schemas"
)

// example is a chart of a real series: usage by the minute, a forecast made from
// the day before, and replicas that follow.
func example(t testing.TB, name string, scale float64, r schemas.Resource) *chart.Chart {
	t.Helper()
	loaded, err := traces.Load()
	if err != nil {
		t.Fatal(err)
	}
	for i := range loaded {
		if loaded[i].Name == name {
			return draw(&loaded[i], scale, r)
		}
	}
	t.Fatalf("no trace %s", name)
	return nil
}

func draw(tr *traces.Trace, scale float64, r schemas.Resource) *chart.Chart {
	const perDay, minutes = 24 * 60, 9 * 24 * 60
	c := &chart.Chart{
		Title: "shop/cart", Subtitle: "9 days of real usage, replayed with the HPA alone and with self-scaling", Resource: r,
		Now: tr.Start.Add((minutes - perDay) * time.Minute), ForecastStep: 15 * time.Minute, BandLabel: "10th to 90th percentile", MidLabel: "80th percentile",
	}
	need := func(m int) float64 { return math.Max(2, math.Ceil(tr.Values[max(0, m)]/8)) }
	for m := range minutes - perDay {
		at := tr.Start.Add(time.Duration(m) * time.Minute)
		c.Usage = append(c.Usage, chart.Point{Time: at, Value: tr.Values[m] * scale})
		c.Reactive = append(c.Reactive, chart.Point{Time: at, Value: need(m - 5)})
		if m >= perDay {
			c.Floor = append(c.Floor, chart.Point{Time: at, Value: need(m/15*15 - perDay)})
			c.Selfscale = append(c.Selfscale, chart.Point{Time: at, Value: math.Max(need(m-5), need(m/15*15-perDay))})
		}
	}
	for m := perDay; m < minutes; m += 15 {
		v := 0.0
		for i := range 15 {
			v += tr.Values[m-perDay+i] * scale / 15
		}
		c.Forecast = append(c.Forecast, chart.Interval{Time: tr.Start.Add(time.Duration(m) * time.Minute), Low: 0.85 * v, Mid: 1.08 * v, High: 1.18 * v})
	}
	return c
}

// Set CHART_DIR to look at what is drawn.
func TestDraw(t *testing.T) {
	gaps := example(t, "input14", 1, schemas.CPU)
	for i := 2000; i < 4000; i++ {
		gaps.Usage[i].Value = math.NaN()
	}
	gaps.Forecast = append(gaps.Forecast[:200], gaps.Forecast[260:]...)
	gaps.Forecast[20].High = math.Inf(1)
	usageOnly := &chart.Chart{Title: "shop/cart", Subtitle: "what the store holds", Resource: schemas.CPU, Usage: gaps.Usage[:1000]}
	spike := example(t, "input14", 1, schemas.CPU)
	spike.Forecast[100].High = 1e9
	for _, tt := range []struct {
		name string
		c    *chart.Chart
		want []string // texts of the drawing
	}{
		{"cores", example(t, "input14", 0.1, schemas.CPU), []string{
			"shop/cart", "CPU (cores)", "replicas", "time (UTC)", "now", "usage, all pods", "forecast, 80th percentile", "forecast, 10th to 90th percentile",
			"replicas, HPA alone", "replicas with self-scaling", "floor (minReplicas) set by self-scaling", "Sat 9 Oct",
		}},
		{"small usage is told in millicores", example(t, "input14", 1e-4, schemas.CPU), []string{"CPU (millicores)"}},
		{"memory is told in binary units", example(t, "input9", 1<<22, schemas.Memory), []string{"memory (GiB)"}},
		{"gaps stay gaps", gaps, []string{"CPU (cores)"}},
		{"a band that runs away does not hide the rest", spike, []string{"100"}},
		{"usage alone", usageOnly, []string{"usage, all pods"}},
		{"nothing but zeros", &chart.Chart{Title: "idle", Usage: []chart.Point{{time.Unix(0, 0), 0}, {time.Unix(3600, 0), 0}}}, []string{"CPU (cores)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var svg, picture bytes.Buffer
			if err := tt.c.WriteSVG(&svg); err != nil {
				t.Fatal(err)
			}
			texts := svgTexts(t, svg.Bytes())
			for _, want := range tt.want {
				if !strings.Contains(texts, "\n"+want+"\n") {
					t.Errorf("SVG lacks the text %q: %q", want, texts)
				}
			}
			if !strings.Contains(svg.String(), "<title>"+tt.c.Title+"</title>") || !strings.Contains(svg.String(), "Liberation Sans,Arimo,Arial,Helvetica,sans-serif;") {
				t.Error("SVG lacks its title or the fonts to fall back on")
			}
			for _, bad := range []string{"NaN", "Inf"} {
				if strings.Contains(svg.String(), bad) {
					t.Errorf("SVG contains %s", bad)
				}
			}
			if err := tt.c.WritePNG(&picture); err != nil {
				t.Fatal(err)
			}
			if dir := os.Getenv("CHART_DIR"); dir != "" {
				name := filepath.Join(dir, strings.ReplaceAll(tt.name, " ", "-"))
				if err := errors.Join(os.WriteFile(name+".png", picture.Bytes(), 0o666), os.WriteFile(name+".svg", svg.Bytes(), 0o666)); err != nil {
					t.Fatal(err)
				}
			}
			img, err := png.Decode(&picture)
			if err != nil {
				t.Fatal(err)
			}
			if b := img.Bounds(); b.Dx() != 1320 {
				t.Errorf("PNG is %d wide, want 1320", b.Dx())
			}
		})
	}
}

func TestDrawRefusesAChartWithoutTime(t *testing.T) {
	c := &chart.Chart{Title: "empty", Usage: []chart.Point{{time.Unix(0, 0), 1}}}
	if err := c.WriteSVG(io.Discard); schemas.CodeOf(err) != schemas.CodeInternal {
		t.Errorf("WriteSVG = %v, want an error", err)
	}
}

// svgTexts returns the texts of a drawing, a line each, and fails where it is no
// well-formed XML.
func svgTexts(t *testing.T, data []byte) string {
	t.Helper()
	texts := "\n"
	inText := false
	for d := xml.NewDecoder(bytes.NewReader(data)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts
		}
		if err != nil {
			t.Fatalf("SVG: %v", err)
		}
		switch x := token.(type) {
		case xml.StartElement:
			inText = x.Name.Local == "text"
		case xml.EndElement:
			inText = false
		case xml.CharData:
			if inText {
				texts += strings.TrimSpace(string(x)) + "\n"
			}
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	c := example(b, "input14", 0.1, schemas.CPU)
	for _, format := range []struct {
		name  string
		write func(io.Writer) error
	}{{"png", c.WritePNG}, {"svg", c.WriteSVG}} {
		b.Run(format.name, func(b *testing.B) {
			b.ReportAllocs()
			var buf bytes.Buffer
			for b.Loop() {
				buf.Reset()
				if err := format.write(&buf); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(buf.Len()), "bytes/chart")
		})
	}
}
