package history_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"github.com/self-scaling/self-scaling/jobs/history"
	"github.com/self-scaling/self-scaling/schemas"
)

var midnight = time.Date(2024, 3, 9, 0, 0, 0, 0, time.UTC)

var nan = math.NaN()

// file makes a CSV file of lines after the usual header.
func file(lines ...string) string {
	return "time,service,component,cpu,memory\n" + strings.Join(lines, "\n") + "\n"
}

func parse(t testing.TB, data string) *history.File {
	t.Helper()
	f, err := history.Parse(t.Context(), "f.csv", []byte(data), history.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// cpu returns the CPU series of a file with one component.
func cpu(t testing.TB, data string) *schemas.Series {
	t.Helper()
	f := parse(t, data)
	if len(f.Histories()) != 1 {
		t.Fatalf("there are %d components, want 1", len(f.Histories()))
	}
	return f.Histories()[0].Series[schemas.CPU]
}

func TestFilesThatBreakARule(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/invalid.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range archive.Files {
		t.Run(entry.Name, func(t *testing.T) {
			want, data, _ := strings.Cut(string(entry.Data), "\n")
			refuse(t, []byte(data), want)
		})
	}
	for _, tt := range []struct{ name, data, want string }{
		{"nothing", "", "f.csv: must have a header and rows, but is empty"},
		{"line ends alone", "\n\r\n\n", "f.csv: must have a header and rows, but is empty"},
		{"a byte order mark alone", "\xef\xbb\xbf", "f.csv: columns must be among time, service, component, cpu, memory, namespace, replicas, cpu_request, memory_request, but there is \"\""},
		{"a name that is not UTF-8", file("2024-03-09T00:00:00Z,sh\xf6p,cart,1,1"), `f.csv: line 2: service must be letters, digits, '-', '_' and '.', beginning and ending with a letter or a digit, but is "sh\xf6p"`},
		{"a number that is not UTF-8", file("2024-03-09T00:00:00Z,shop,cart,1\xff,1"), `f.csv: line 2, column cpu: must be a number, but is "1\xff"`},
		{"UTF-16", "\xff\xfet\x00i\x00", "f.csv: must be UTF-8, but begins with the byte order mark of UTF-16"},
		{"a line without end", file(strings.Repeat("x", 2<<20)), "f.csv: line 2: must be at most 1048576 bytes long"},
		{"a long value is cut", file("2024-03-09T00:00:00Z,shop,cart," + strings.Repeat("9x", 500) + ",1"), `f.csv: line 2, column cpu: must be a number, but is "` + strings.Repeat("9x", 30) + `"... (1000 bytes)`},
		{"lines that end in CR alone", strings.ReplaceAll(file("2024-03-09T00:00:00Z,shop,cart,1,1"), "\n", "\r"), `f.csv: columns must be among time, service, component, cpu, memory, namespace, replicas, cpu_request, memory_request, but there is "memory\r2024-03-09T00:00:00Z"`},
		{"half a gzip file", string(compress(t, file("2024-03-09T00:00:00Z,shop,cart,1,1"), newGzip)[:40]), "f.csv: must be whole, but cannot be unpacked: unexpected EOF"},
		{"half a zstd file", string(compress(t, file("2024-03-09T00:00:00Z,shop,cart,1,1"), newZstd)[:40]), "f.csv: must be whole, but cannot be unpacked: unexpected EOF"},
		{"the beginning of a Parquet file", "PAR1", "f.csv: must be a Parquet file: parquet: file too small (size=4)"},
	} {
		t.Run(tt.name, func(t *testing.T) { refuse(t, []byte(tt.data), tt.want) })
	}
}

func refuse(t *testing.T, data []byte, want string) {
	t.Helper()
	f, err := history.Parse(t.Context(), "f.csv", data, history.Options{})
	if err == nil {
		t.Fatalf("was accepted as %d rows, want the error %q", f.Rows, want)
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	if code := schemas.CodeOf(err); code != schemas.CodeInvalidData {
		t.Errorf("code %q, want invalid_data", code)
	}
}

func newGzip(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }
func newZstd(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }

func compress(t testing.TB, data string, writer func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := writer(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestAFileMayBeWrittenInManyWays(t *testing.T) {
	plain := file("2024-03-09T00:00:00Z,shop,cart,0.9,1024", "2024-03-09T00:15:00Z,shop,cart,,2048")
	want := parse(t, plain).Histories()
	for _, tt := range []struct{ name, data string }{
		{"with CR/LF", strings.ReplaceAll(plain, "\n", "\r\n")},
		{"with a byte order mark", "\xef\xbb\xbf" + plain},
		{"without a last line end", strings.TrimSuffix(plain, "\n")},
		{"with empty lines", strings.ReplaceAll(plain, "\n", "\n\n")},
		{"with quotes", strings.ReplaceAll(strings.ReplaceAll(plain, "cart", `"cart"`), "time", `"time"`)},
		{"with columns in another order", "memory,cpu,component,service,time\n1024,0.9,cart,shop,2024-03-09T00:00:00Z\n2048,,cart,shop,2024-03-09T00:15:00Z\n"},
		{"with an offset from UTC", strings.ReplaceAll(strings.ReplaceAll(plain, "2024-03-09T00:00:00Z", "2024-03-09T05:30:00+05:30"), "2024-03-09T00:15:00Z", "2024-03-08T19:15:00-05:00")},
		{"with a blank between day and time", strings.ReplaceAll(plain, "09T", "09 ")},
		{"with other spellings of numbers", strings.ReplaceAll(strings.ReplaceAll(plain, "0.9", "9e-1"), "1024", "+1024.000")},
		{"with columns that are unknown throughout", "time,service,component,cpu,memory,namespace,replicas,cpu_request,memory_request\n2024-03-09T00:00:00Z,shop,cart,.9,1024.,,,,\n2024-03-09T00:15:00Z,shop,cart,,2048,,,,\n"},
		{"compressed with gzip", string(compress(t, plain, newGzip))},
		{"compressed with zstd", string(compress(t, plain, newZstd))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(want, parse(t, tt.data).Histories(), cmpopts.EquateNaNs()); diff != "" {
				t.Errorf("histories (-plain +this):\n%s", diff)
			}
		})
	}
}

func TestRowsAreGatheredInBuckets(t *testing.T) {
	at := func(minute int, cpu string) string {
		return fmt.Sprintf("%s,shop,cart,%s,", midnight.Add(time.Duration(minute)*time.Minute).Format(time.RFC3339), cpu)
	}
	for _, tt := range []struct {
		name      string
		lines     []string
		step      time.Duration
		mean, max []float64
	}{
		{"of 15 minutes as they are", []string{at(0, "1"), at(15, "2")}, 15 * time.Minute, []float64{1, 2}, []float64{1, 2}},
		{"of one minute to their mean and maximum", []string{at(13, "1"), at(14, "3"), at(15, "5"), at(16, "6")}, 15 * time.Minute, []float64{2, 5.5}, []float64{3, 6}},
		{"of ten minutes, although they do not divide a bucket", []string{at(0, "1"), at(10, "3"), at(20, "5"), at(30, "7")}, 15 * time.Minute, []float64{2, 5, 7}, []float64{3, 5, 7}},
		{"of an hour keep their hour", []string{at(0, "1"), at(60, "2"), at(180, "4")}, time.Hour, []float64{1, 2, nan, 4}, []float64{1, 2, nan, 4}},
		{"of twenty minutes keep them", []string{at(20, "1"), at(40, "2"), at(60, "3"), at(80, "4")}, 20 * time.Minute, []float64{1, 2, 3, 4}, []float64{1, 2, 3, 4}},
		{"missing rows are gaps", []string{at(0, "1"), at(15, "2"), at(60, "5")}, 15 * time.Minute, []float64{1, 2, nan, nan, 5}, []float64{1, 2, nan, nan, 5}},
		{"empty fields are gaps", []string{at(0, "1"), at(15, ""), at(30, "3")}, 15 * time.Minute, []float64{1, nan, 3}, []float64{1, nan, 3}},
		{"what is unknown at the end is a gap", []string{at(0, "1"), at(15, "")}, 15 * time.Minute, []float64{1, nan}, []float64{1, nan}},
		{"zero is usage", []string{at(0, "0"), at(15, "0.0")}, 15 * time.Minute, []float64{0, 0}, []float64{0, 0}},
		{"one row is a series", []string{at(30, "7")}, 15 * time.Minute, []float64{7}, []float64{7}},
		{"rounding lifts no mean above its maximum", []string{at(0, "0.1"), at(1, "0.1"), at(2, "0.1")}, 15 * time.Minute, []float64{0.1}, []float64{0.1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := cpu(t, file(tt.lines...))
			if s.Step != tt.step {
				t.Errorf("step %s, want %s", s.Step, tt.step)
			}
			if diff := cmp.Diff(tt.mean, s.Mean, cmpopts.EquateNaNs()); diff != "" {
				t.Errorf("means (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.max, s.Max, cmpopts.EquateNaNs()); diff != "" {
				t.Errorf("maxima (-want +got):\n%s", diff)
			}
		})
	}
}

func TestThinComponentsStopNobody(t *testing.T) {
	var lines []string
	line := func(minute int, component, rest string) {
		lines = append(lines, fmt.Sprintf("%s,shop,%s,%s", midnight.Add(time.Duration(minute)*time.Minute).Format(time.RFC3339), component, rest))
	}
	for i := range 32 {
		line(15*i, "full", fmt.Sprintf("%d,1024,2,0.5,2048", i))
		line(15*i, "constant", "1,1024,,,")
		if i%2 == 0 {
			line(15*i, "half", "1,,,,")
		}
		if i == 3 {
			line(15*i, "point", "1,1024,0,0,")
		}
	}
	f := parse(t, "time,service,component,cpu,memory,replicas,cpu_request,memory_request\n"+strings.Join(lines, "\n"))
	two, zero := int32(2), int32(0)
	type facts struct {
		Replicas *int32
		Requests schemas.Requests
		Quality  map[schemas.Resource]schemas.Quality
		End      time.Time
	}
	got := map[string]facts{}
	for _, h := range f.Histories() {
		q := map[schemas.Resource]schemas.Quality{}
		for r, s := range h.Series {
			q[r] = s.Quality()
		}
		got[h.Component.Component] = facts{h.Replicas, h.Requests, q, h.End()}
	}
	at := func(i int) time.Time { return midnight.Add(time.Duration(i) * 15 * time.Minute) }
	all := schemas.Quality{Buckets: 32, Valid: 32, First: at(0), Last: at(31)}
	point := schemas.Quality{Buckets: 29, Valid: 1, First: at(3), Last: at(3)}
	want := map[string]facts{
		"full":     {&two, schemas.Requests{schemas.CPU: .5, schemas.Memory: 2048}, map[schemas.Resource]schemas.Quality{schemas.CPU: all, schemas.Memory: all}, at(32)},
		"constant": {nil, schemas.Requests{}, map[schemas.Resource]schemas.Quality{schemas.CPU: all, schemas.Memory: all}, at(32)},
		"half":     {nil, schemas.Requests{}, map[schemas.Resource]schemas.Quality{schemas.CPU: {Buckets: 32, Valid: 16, First: at(0), Last: at(30)}}, at(32)},
		"point":    {&zero, schemas.Requests{}, map[schemas.Resource]schemas.Quality{schemas.CPU: point, schemas.Memory: point}, at(32)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("components (-want +got):\n%s", diff)
	}
}

func TestTheLastKnownRequestsCount(t *testing.T) {
	f := parse(t, "time,service,component,cpu,memory,replicas,cpu_request\n"+
		"2024-03-09T00:00:00Z,shop,cart,1,1,3,0.5\n2024-03-09T00:15:00Z,shop,cart,1,1,4,0.25\n2024-03-09T00:30:00Z,shop,cart,1,1,,\n")
	h := f.Histories()[0]
	if diff := cmp.Diff(schemas.Requests{schemas.CPU: .25}, h.Requests); diff != "" || h.Replicas == nil || *h.Replicas != 4 {
		t.Errorf("requests (-want +got):\n%s\nreplicas %v, want 4", diff, h.Replicas)
	}
}

func TestEveryBucketHasTheRequestsOfItsTime(t *testing.T) {
	for _, tt := range []struct {
		name, rows string
		want       []float64 // of the buckets from midnight on; -1 for not known
	}{
		{"they stay the same", "00:00 .5,00:15 .5,00:30 .5,00:45 .5", []float64{.5, .5, .5, .5}},
		{"they change and change back", "00:00 .5,00:15 .5,00:30 1,00:45 .5", []float64{.5, .5, 1, .5}},
		{"they are known now and then", "00:00 .5,00:15 ,00:30 .5,00:45 ", []float64{.5, -1, .5, -1}},
		{"rows are missing", "00:00 .5,00:15 .5,00:45 .5", []float64{.5, .5, -1, .5}},
		{"the newest of a bucket counts", "00:00 .5,00:05 1,00:10 2,00:15 2,00:20 ,00:30 .5", []float64{2, 2, .5, -1}},
		{"rows are an hour apart", "00:00 .5,01:00 .5,02:00 1,03:00 .5", []float64{.5, .5, 1, .5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var text strings.Builder
			text.WriteString("time,service,component,cpu,memory,replicas,cpu_request,memory_request\n")
			for row := range strings.SplitSeq(tt.rows, ",") {
				at, request, _ := strings.Cut(row, " ")
				fmt.Fprintf(&text, "2024-03-09T%s:00Z,shop,cart,1,1,,%s,\n", at, request)
			}
			f := parse(t, text.String())
			// Twice, since reading must change nothing.
			for range 2 {
				got := []float64{-1, -1, -1, -1}
				err := f.Samples(t.Context(), midnight, midnight.Add(4*f.Step), f.Step, func(s *schemas.Sample) error {
					if s.CPURequest != nil {
						got[s.Start.Sub(midnight)/f.Step] = *s.CPURequest
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("requests (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestAFileIsASource(t *testing.T) {
	f := parse(t, "time,service,component,cpu,memory,replicas\n"+
		"2024-03-09T00:00:00Z,shop,cart,1,,\n2024-03-09T00:05:00Z,shop,cart,3,,2\n2024-03-09T00:30:00Z,shop,cart,5,1024,\n2024-03-09T00:45:00Z,shop,cart,6,1024,\n")
	var got []schemas.Sample
	err := f.Samples(t.Context(), midnight, midnight.Add(45*time.Minute), 15*time.Minute, func(s *schemas.Sample) error {
		got = append(got, *s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	id := schemas.ComponentID{Service: "shop", Component: "cart"}
	two := int32(2)
	want := []schemas.Sample{
		{Component: id, Start: midnight, CPU: &schemas.Usage{Mean: 2, Max: 3, Count: 2}, Replicas: &two},
		{Component: id, Start: midnight.Add(30 * time.Minute), CPU: &schemas.Usage{Mean: 5, Max: 5, Count: 1}, Memory: &schemas.Usage{Mean: 1024, Max: 1024, Count: 1}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
	stopped := errors.New("enough")
	if err := f.Samples(t.Context(), midnight, midnight.Add(time.Hour), 15*time.Minute, func(*schemas.Sample) error { return stopped }); err != stopped {
		t.Errorf("error of add: %v, want it back", err)
	}
	if err := f.Samples(t.Context(), midnight, midnight.Add(time.Hour), time.Hour, nil); schemas.CodeOf(err) != schemas.CodeInvalidConfig {
		t.Errorf("another step: %v, want invalid_config", err)
	}
}

func TestReadNamesWhatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ name, path, want string }{
		{"a file that is not there", filepath.Join(dir, "none.csv"), "no such file or directory"},
		{"a folder", dir, "must be a file, but is a folder"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := history.Read(t.Context(), tt.path, history.Options{})
			if schemas.CodeOf(err) != schemas.CodeInvalidConfig || !strings.HasSuffix(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.path) {
				t.Errorf("error %v, want invalid_config naming the path and %q", err, tt.want)
			}
		})
	}
	path := filepath.Join(dir, "usage.csv")
	if err := os.WriteFile(path, []byte(file("2024-03-09T00:00:00Z,shop,cart,1,1")), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := history.Read(t.Context(), path, history.Options{})
	if err != nil || f.Name != "usage.csv" || f.Rows != 1 || !f.From.Equal(midnight) || !f.To.Equal(midnight.Add(15*time.Minute)) {
		t.Errorf("read %+v, %v; want one row", f, err)
	}
}

// Whatever can be written as a number is read as strconv reads it.
func TestNumbersAreReadExactly(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := rapid.Float64Range(0, schemas.MaxCPU).Draw(rt, "value")
		format := rapid.SampledFrom([]byte{'e', 'f', 'g'}).Draw(rt, "format")
		text := fmt.Sprintf("%."+fmt.Sprint(rapid.IntRange(0, 17).Draw(rt, "digits"))+string(format), v)
		var want float64
		if _, err := fmt.Sscan(text, &want); err != nil {
			rt.Fatal(err)
		}
		if want > schemas.MaxCPU {
			return
		}
		if got := cpu(t, file("2024-03-09T00:00:00Z,shop,cart,"+text+",")).Mean[0]; got != want {
			rt.Fatalf("%s is read as %v, want %v", text, got, want)
		}
	})
}

func FuzzParse(f *testing.F) {
	archive, err := txtar.ParseFile("testdata/invalid.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, entry := range archive.Files {
		_, data, _ := strings.Cut(string(entry.Data), "\n")
		f.Add([]byte(data))
	}
	f.Add([]byte(file("2024-03-09T00:00:00Z,shop,cart,0.9,1024", "2024-03-09T00:15:00+00:00,shop,\"cart\",,1e3")))
	paths, err := filepath.Glob("testdata/*.parquet")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := history.Parse(t.Context(), "f.csv", data, history.Options{})
		if err != nil {
			if code := schemas.CodeOf(err); code != schemas.CodeInvalidData || !strings.HasPrefix(err.Error(), "f.csv: ") {
				t.Errorf("error %q with code %q must name the file and be invalid_data", err, code)
			}
			return
		}
		for _, h := range got.Histories() {
			if err := h.Component.Validate(); err != nil {
				t.Error(err)
			}
			for _, s := range h.Series {
				if !s.End().Equal(got.To) {
					t.Errorf("%s %s ends %s, want %s", h.Component, s.Resource, s.End(), got.To)
				}
				for i, v := range s.Mean {
					if math.IsInf(v, 0) || v < 0 || v > s.Max[i] || math.IsNaN(v) != math.IsNaN(s.Max[i]) {
						t.Errorf("%s %s bucket %d: mean %v, maximum %v", h.Component, s.Resource, i, v, s.Max[i])
					}
				}
			}
		}
	})
}

// lines writes rows of many components in order of time, or component after
// component.
func lines(components, buckets int, byTime bool) []byte {
	var b bytes.Buffer
	b.WriteString("time,service,component,cpu,memory,replicas,cpu_request,memory_request\n")
	write := func(c, i int) {
		fmt.Fprintf(&b, "%s,service-%d,component-%d,%.4f,%d,3,0.5,536870912\n",
			midnight.Add(time.Duration(i)*15*time.Minute).Format(time.RFC3339), c/10, c, float64((c*31+i*17)%1000)/97, 1e8+(c*7919+i*104729)%1e8)
	}
	if byTime {
		for i := range buckets {
			for c := range components {
				write(c, i)
			}
		}
	} else {
		for c := range components {
			for i := range buckets {
				write(c, i)
			}
		}
	}
	return b.Bytes()
}

func BenchmarkParseCSV(b *testing.B) {
	for _, tt := range []struct {
		name                string
		components, buckets int
		byTime              bool
	}{{"1000 components by time", 1000, 480, true}, {"1000 components one by one", 1000, 480, false}, {"10000 components by time", 10000, 48, true}} {
		b.Run(tt.name, func(b *testing.B) {
			data := lines(tt.components, tt.buckets, tt.byTime)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := history.Parse(b.Context(), "f.csv", data, history.Options{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(tt.components*tt.buckets)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
