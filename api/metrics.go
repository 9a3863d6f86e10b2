package api

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/self-scaling/self-scaling/schemas"
)

// metrics are what the server counts. Their labels have few values: routes are
// patterns, never paths.
type metrics struct {
	duration *prometheus.HistogramVec
	refused  *prometheus.CounterVec
	streams  prometheus.Gauge
	runs     *prometheus.CounterVec
}

func newMetrics(s *Server) (*metrics, error) {
	m := &metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "selfscaling_http_request_duration_seconds", Help: "How long requests took to answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30},
		}, []string{"route", "method", "code"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "selfscaling_http_requests_refused_total", Help: "Requests that were refused before they reached their handler.",
		}, []string{"reason"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "selfscaling_http_event_streams", Help: "Event streams that are open.",
		}),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "selfscaling_api_runs_submitted_total", Help: "Runs that were submitted through the interface.",
		}, []string{"pipeline"}),
	}
	collectors := []prometheus.Collector{m.duration, m.refused, m.streams, m.runs}
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		collectors = append(collectors, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
	}
	gauge("selfscaling_api_stale_seconds", "For how long the store has not answered, 0 while it does.", nil, func() float64 {
		if since := s.config.View.StaleSince(); since != nil {
			return s.config.Clock.Since(*since).Seconds()
		}
		return 0
	})
	for _, f := range []struct {
		kind string
		at   func() time.Time
	}{
		{"samples", func() time.Time { return s.config.View.State().Samples }},
		{"forecasts", func() time.Time { return s.config.View.State().Forecast }},
		{"models", func() time.Time { return s.config.View.State().Models }},
	} {
		gauge("selfscaling_data_timestamp_seconds", "How far what is shown reaches, 0 where there is nothing yet.", prometheus.Labels{"kind": f.kind}, func() float64 {
			if at := f.at(); !at.IsZero() {
				return float64(at.UnixMilli()) / 1000
			}
			return 0
		})
	}
	for _, mode := range []schemas.Mode{schemas.Off, schemas.Shadow, schemas.Auto} {
		gauge("selfscaling_api_components", "Components that are known, by the mode that holds for them.", prometheus.Labels{"mode": string(mode)}, func() float64 {
			return float64(s.catalog.load().modes[string(mode)])
		})
	}
	for _, c := range collectors {
		if err := s.config.Metrics.Register(c); err != nil {
			return nil, schemas.Errorf(schemas.CodeInternal, "register metrics: %w", err)
		}
	}
	return m, nil
}

// done counts a request.
func (m *metrics) done(rt *route, method string, status int, took time.Duration) {
	pattern := "other"
	if rt != nil {
		pattern = rt.pattern
	}
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
	default:
		method = "other"
	}
	m.duration.WithLabelValues(pattern, method, strconv.Itoa(status)).Observe(took.Seconds())
}
