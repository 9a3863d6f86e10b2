// Package chart draws what happened to one component over time: above, its
// usage and what was forecast; below, the floor and the replicas, all over one
// time axis in UTC.
package chart

import (
	"bytes"
	"encoding/xml"
	"image/color"
	"io"
	"math"
	"time"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/self-scaling/self-scaling/schemas"
)

// Point is a value at an instant. NaN is a gap.
type Point struct {
	Time  time.Time
	Value float64
}

// Interval is a forecast for an instant: a band and the value that decides.
type Interval struct {
	Time           time.Time
	Low, Mid, High float64
}

// Chart is what is drawn. A part without points is left out, and so is the
// lower half where it would be empty.
type Chart struct {
	Title    string
	Subtitle string
	Resource schemas.Resource
	// Usage is what was measured, in cores or bytes, in the order of time.
	Usage []Point
	// Forecast is what was forecast, in the same unit. Where two intervals are
	// further apart than ForecastStep the band is broken.
	Forecast     []Interval
	ForecastStep time.Duration
	// BandLabel and MidLabel name the levels in the legend, as in "10th to 90th
	// percentile" and "80th percentile".
	BandLabel, MidLabel string
	// Now is the instant from which the newest forecast looks ahead; the zero
	// time for none.
	Now time.Time
	// Floor, Reactive and Selfscale are numbers of replicas. Each holds until
	// the next point, and the last one until Now.
	Floor     []Point // the minReplicas that were set
	Reactive  []Point // replicas under the HPA alone
	Selfscale []Point // replicas with the floor under the HPA
}

// The drawing's measures. Text sizes suit a width of about 1100 pixels.
const (
	width       = 11 * vg.Inch
	height      = 6.2 * vg.Inch
	shortHeight = 3.9 * vg.Inch // without the lower half
	header      = 44 * vg.Length(1)
	legendRow   = 17 * vg.Length(1)
	gap         = 10 * vg.Length(1)
	margin      = 12 * vg.Length(1)
	dpi         = 120
)

// The colours are told apart also without seeing red and green.
var (
	ink       = color.NRGBA{0x22, 0x2b, 0x35, 0xff}
	faint     = color.NRGBA{0x6b, 0x75, 0x80, 0xff}
	gridLine  = color.NRGBA{0xe4, 0xe7, 0xeb, 0xff}
	usageInk  = color.NRGBA{0x1b, 0x1f, 0x24, 0xff}
	bandFill  = color.NRGBA{0x3b, 0x82, 0xc4, 0x48}
	midInk    = color.NRGBA{0x1f, 0x6f, 0xb8, 0xff}
	floorInk  = color.NRGBA{0xd9, 0x6b, 0x00, 0xff}
	aloneInk  = color.NRGBA{0x8a, 0x93, 0x9d, 0xff}
	withUsInk = color.NRGBA{0x1f, 0x6f, 0xb8, 0xff}
)

// WritePNG draws the chart as PNG.
func (c *Chart) WritePNG(w io.Writer) error {
	canvas := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, c.height()), vgimg.UseDPI(dpi))}
	if err := c.draw(draw.New(canvas)); err != nil {
		return err
	}
	_, err := canvas.WriteTo(w)
	return err
}

// WriteSVG draws the chart as SVG.
func (c *Chart) WriteSVG(w io.Writer) error {
	canvas := vgsvg.New(width, c.height())
	if err := c.draw(draw.New(canvas)); err != nil {
		return err
	}
	var drawing bytes.Buffer
	if _, err := canvas.WriteTo(&drawing); err != nil {
		return err
	}
	// Where the font that the drawing was measured with is not there, others of
	// the same widths are, and in the end any without serifs.
	svg := bytes.ReplaceAll(drawing.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arimo,Arial,Helvetica,sans-serif;"))
	// The title is what a screen reader reads and a browser shows.
	title := bytes.NewBufferString("<title>")
	if err := xml.EscapeText(title, []byte(c.Title)); err != nil {
		return err
	}
	title.WriteString("</title>\n<g ")
	_, err := w.Write(bytes.Replace(svg, []byte("<g "), title.Bytes(), 1))
	return err
}

func (c *Chart) height() vg.Length {
	if c.hasReplicas() {
		return height
	}
	return shortHeight
}

func (c *Chart) hasReplicas() bool { return len(c.Floor)+len(c.Reactive)+len(c.Selfscale) > 0 }

func (c *Chart) draw(canvas draw.Canvas) error {
	canvas.SetColor(color.White)
	canvas.Fill(canvas.Rectangle.Path())
	from, to, ok := c.span()
	if !ok {
		return schemas.Errorf(schemas.CodeInternal, "chart %q must have at least two instants, but has fewer", c.Title)
	}
	canvas = draw.Crop(canvas, margin, -margin, margin, -margin)
	canvas.FillText(style(14, xfont.WeightBold, ink, draw.XLeft), vg.Point{X: canvas.Min.X, Y: canvas.Max.Y}, c.Title)
	canvas.FillText(style(10, xfont.WeightNormal, faint, draw.XLeft), vg.Point{X: canvas.Min.X, Y: canvas.Max.Y - 20}, c.Subtitle)
	canvas = draw.Crop(canvas, 0, 0, 0, -header)

	upper, upperLegend, err := c.usagePanel(from, to)
	if err != nil {
		return err
	}
	panels := []*plot.Plot{upper}
	legends := [][]entry{upperLegend}
	if c.hasReplicas() {
		lower, lowerLegend, err := c.replicasPanel(from, to)
		if err != nil {
			return err
		}
		upper.X.Tick.Marker = timeTicks{unlabelled: true} // the lower half has the labels
		panels, legends = append(panels, lower), append(legends, lowerLegend)
	}
	panels[len(panels)-1].X.Label.Text = "time (UTC)"

	// Both halves begin at the same distance from the left, whatever the width
	// of their labels.
	left := vg.Length(0)
	for _, p := range panels {
		left = max(left, p.DataCanvas(canvas).Min.X-canvas.Min.X)
	}
	space := canvas.Max.Y - canvas.Min.Y
	shares := []vg.Length{1}
	if len(panels) == 2 {
		shares = []vg.Length{0.58, 0.42}
		space -= gap
	}
	top := canvas.Max.Y
	for i, p := range panels {
		area := canvas
		area.Max.Y = top
		area.Min.Y = top - space*shares[i]
		top = area.Min.Y - gap
		drawLegend(draw.Crop(area, left, 0, 0, 0), legends[i])
		area = draw.Crop(area, 0, 0, 0, -legendRow)
		area.Min.X += left - (p.DataCanvas(area).Min.X - area.Min.X)
		p.Draw(area)
		c.drawNow(p, area, i == 0)
	}
	return nil
}

// drawNow draws the marker of the instant from which the forecast looks ahead.
func (c *Chart) drawNow(p *plot.Plot, area draw.Canvas, label bool) {
	if c.Now.IsZero() {
		return
	}
	data := p.DataCanvas(area)
	x, _ := p.Transforms(&data)
	at := x(seconds(c.Now))
	if !data.ContainsX(at) {
		return
	}
	data.StrokeLine2(draw.LineStyle{Color: ink, Width: 1, Dashes: []vg.Length{2, 2}}, at, data.Min.Y, at, data.Max.Y)
	if label {
		s := style(9, xfont.WeightBold, ink, draw.XRight)
		data.FillText(s, vg.Point{X: at - 4, Y: data.Max.Y - 2}, "now")
	}
}

func (c *Chart) usagePanel(from, to time.Time) (*plot.Plot, []entry, error) {
	highest := 0.0
	for _, p := range c.Usage {
		highest = max(highest, finite(p.Value))
	}
	for _, f := range c.Forecast {
		highest = max(highest, finite(f.Mid))
	}
	// The band's upper edge may reach far beyond anything that was measured. It
	// must not press everything else to the ground.
	limit := 1.6 * highest
	for _, f := range c.Forecast {
		highest = max(highest, min(limit, finite(f.High)))
	}
	if highest == 0 {
		highest = 1
	}
	name, unit := "CPU", 1.0
	label := "cores"
	switch {
	case c.Resource == schemas.Memory:
		name = "memory"
		label, unit = byteUnit(highest)
	case highest < 1:
		label, unit = "millicores", 1e-3
	}
	p := c.panel(from, to, highest/unit*1.04, name+" ("+label+")")
	clip := highest * 1.04 // a filled area is not cut at the panel's edge by itself
	var legend []entry

	for _, part := range c.forecastParts() {
		band := make(plotter.XYs, 0, 2*len(part))
		mid := make(plotter.XYs, 0, len(part))
		for _, f := range part {
			band = append(band, plotter.XY{X: seconds(f.Time), Y: min(f.High, clip) / unit})
			mid = append(mid, plotter.XY{X: seconds(f.Time), Y: min(f.Mid, clip) / unit})
		}
		for i := len(part) - 1; i >= 0; i-- {
			band = append(band, plotter.XY{X: seconds(part[i].Time), Y: min(part[i].Low, clip) / unit})
		}
		polygon, err := plotter.NewPolygon(band)
		if err != nil {
			return nil, nil, err
		}
		polygon.Color = bandFill
		polygon.LineStyle.Width = 0
		line := &plotter.Line{XYs: mid, LineStyle: draw.LineStyle{Color: midInk, Width: 1}}
		p.Add(polygon, line)
	}
	for _, part := range parts(decimate(c.Usage, maxPoints)) {
		p.Add(&plotter.Line{XYs: scaled(part, unit), LineStyle: draw.LineStyle{Color: usageInk, Width: 0.8}})
	}
	if len(c.Usage) > 0 {
		legend = append(legend, entry{label: "usage, all pods", line: draw.LineStyle{Color: usageInk, Width: 1.5}})
	}
	if len(c.Forecast) > 0 {
		legend = append(legend,
			entry{label: "forecast, " + c.MidLabel, line: draw.LineStyle{Color: midInk, Width: 1.5}},
			entry{label: "forecast, " + c.BandLabel, fill: bandFill})
	}
	return p, legend, nil
}

// forecastParts splits the forecast where it is broken, leaving out what is not
// a number.
func (c *Chart) forecastParts() [][]Interval {
	var split [][]Interval
	var part []Interval
	flush := func() {
		if len(part) > 1 {
			split = append(split, part)
		}
		part = nil
	}
	for _, f := range c.Forecast {
		if math.IsNaN(f.Low+f.Mid+f.High) || math.IsInf(f.Low+f.Mid+f.High, 0) {
			flush()
			continue
		}
		if n := len(part); n > 0 && c.ForecastStep > 0 && f.Time.Sub(part[n-1].Time) > c.ForecastStep {
			flush()
		}
		part = append(part, f)
	}
	flush()
	return split
}

func (c *Chart) replicasPanel(from, to time.Time) (*plot.Plot, []entry, error) {
	highest := 1.0
	for _, line := range [][]Point{c.Floor, c.Reactive, c.Selfscale} {
		for _, p := range line {
			highest = max(highest, finite(p.Value))
		}
	}
	p := c.panel(from, to, highest*1.08, "replicas")
	p.Y.Tick.Marker = plot.TickerFunc(wholeTicks)
	var legend []entry
	for _, line := range []struct {
		points []Point
		label  string
		style  draw.LineStyle
	}{
		{c.Reactive, "replicas, HPA alone", draw.LineStyle{Color: aloneInk, Width: 1.1}},
		{c.Selfscale, "replicas with self-scaling", draw.LineStyle{Color: withUsInk, Width: 1.1}},
		{c.Floor, "floor (minReplicas) set by self-scaling", draw.LineStyle{Color: floorInk, Width: 1.1, Dashes: []vg.Length{4, 2}}},
	} {
		if len(line.points) == 0 {
			continue
		}
		for _, part := range parts(decimate(steps(line.points, c.Now), maxPoints)) {
			p.Add(&plotter.Line{XYs: scaled(part, 1), LineStyle: line.style})
		}
		style := line.style
		style.Width = 1.8
		legend = append(legend, entry{label: line.label, line: style})
	}
	return p, legend, nil
}

// panel returns an empty half with its axes.
func (c *Chart) panel(from, to time.Time, highest float64, label string) *plot.Plot {
	p := plot.New()
	p.X.Min, p.X.Max = seconds(from), seconds(to)
	p.Y.Min, p.Y.Max = 0, highest
	p.Y.Label.Text = label
	p.X.Tick.Marker = timeTicks{}
	p.Y.Tick.Marker = plot.TickerFunc(roundTicks)
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Padding = 0
		axis.LineStyle = draw.LineStyle{Color: faint, Width: 0.6}
		axis.Tick.LineStyle = draw.LineStyle{Color: faint, Width: 0.6}
		axis.Tick.Length = 4
		axis.Tick.Label.Font = sans(9, xfont.WeightNormal)
		axis.Tick.Label.Color = ink
		axis.Label.TextStyle.Font = sans(10, xfont.WeightNormal)
		axis.Label.TextStyle.Color = ink
		axis.Label.Padding = 4
	}
	grid := plotter.NewGrid()
	grid.Vertical = draw.LineStyle{Color: gridLine, Width: 0.6}
	grid.Horizontal = draw.LineStyle{Color: gridLine, Width: 0.6}
	p.Add(grid)
	return p
}

// span returns the first and the last instant of all parts.
func (c *Chart) span() (from, to time.Time, ok bool) {
	note := func(t time.Time) {
		if from.IsZero() || t.Before(from) {
			from = t
		}
		if to.IsZero() || t.After(to) {
			to = t
		}
	}
	for _, line := range [][]Point{c.Usage, c.Floor, c.Reactive, c.Selfscale} {
		for _, p := range line {
			note(p.Time)
		}
	}
	for _, f := range c.Forecast {
		note(f.Time)
	}
	return from, to, to.After(from)
}

// entry is one line of a legend: a sample and what it stands for.
type entry struct {
	label string
	line  draw.LineStyle
	fill  color.Color // a filled box in place of a line
}

// drawLegend draws the entries in one row at the area's top.
func drawLegend(area draw.Canvas, entries []entry) {
	const sample, between = 20, 16
	x, y := area.Min.X, area.Max.Y-6
	s := style(9, xfont.WeightNormal, ink, draw.XLeft)
	s.YAlign = draw.YCenter
	for _, e := range entries {
		if e.fill != nil {
			area.FillPolygon(e.fill, []vg.Point{{X: x, Y: y - 4}, {X: x + sample, Y: y - 4}, {X: x + sample, Y: y + 4}, {X: x, Y: y + 4}})
		} else {
			area.StrokeLine2(e.line, x, y, x+sample, y)
		}
		area.FillText(s, vg.Point{X: x + sample + 5, Y: y}, e.label)
		x += sample + 5 + s.Width(e.label) + between
	}
}

func sans(size vg.Length, weight xfont.Weight) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Weight: weight, Size: size}
}

func style(size vg.Length, weight xfont.Weight, c color.Color, align draw.XAlignment) text.Style {
	return text.Style{Color: c, Font: sans(size, weight), XAlign: align, YAlign: draw.YTop, Handler: plot.DefaultTextHandler}
}

func seconds(t time.Time) float64 { return float64(t.Unix()) + float64(t.Nanosecond())/1e9 }

// finite returns v, or 0 where it is not a number that can be drawn.
func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}
