package ladder_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/self-scaling/self-scaling/jobs/trainer/ladder"
	"github.com/self-scaling/self-scaling/schemas"
)

var now = time.Date(2026, 3, 16, 8, 0, 0, 0, time.UTC)

// measured is a series that ends now: n buckets, of which those that keep says
// were measured.
func measured(n int, step time.Duration, keep func(age int) bool) *schemas.Series {
	s := &schemas.Series{Resource: schemas.CPU, Start: now.Add(-time.Duration(n) * step), Step: step, Mean: make([]float64, n)}
	for i := range s.Mean {
		if !keep(n - 1 - i) {
			s.Mean[i] = math.NaN()
		}
	}
	return s
}

func all(int) bool { return true }

func TestRungs(t *testing.T) {
	const quarter = 15 * time.Minute
	for _, tt := range []struct {
		name   string
		series *schemas.Series
		season int
		want   schemas.Rung
		says   string
	}{
		{"no series", nil, 0, schemas.RungNone, "Insufficient data: nothing was ever measured"},
		{"nothing but gaps", measured(960, quarter, func(int) bool { return false }), 0, schemas.RungNone, "Insufficient data: nothing was ever measured"},
		{"a bucket less than a day", measured(95, quarter, all), 0, schemas.RungNone, "Insufficient data: cpu has been measured for 23h45m0s; 24h0m0s are needed"},
		{"a day", measured(96, quarter, all), 0, schemas.RungDay, "Bank takes part from 2 days on"},
		{"a bucket less than two days", measured(191, quarter, all), 0, schemas.RungDay, "measured for 1.9 days"},
		{"two days", measured(192, quarter, all), 0, schemas.RungBank, "Network takes part from 3 days on"},
		{"three days", measured(288, quarter, all), 0, schemas.RungNetwork, "what was used a week ago takes part from 8 days on"},
		{"eight days", measured(768, quarter, all), 0, schemas.RungWeek, "what was used two weeks ago takes part from 14 days on"},
		{"fourteen days", measured(1344, quarter, all), 0, schemas.RungFull, "every forecaster takes part"},
		{"what lies before the first measurement does not count", measured(1344, quarter, func(age int) bool { return age < 96 }), 0, schemas.RungDay, "measured for 1 day"},
		{"half of the last day", measured(960, quarter, func(age int) bool { return age >= 48 }), 0, schemas.RungWeek, ""},
		{"a bucket less", measured(960, quarter, func(age int) bool { return age >= 49 }), 0, schemas.RungNone, "Insufficient data: cpu was measured in 47 of the last day's 96 buckets; 48 are needed"},
		{"half of the week", measured(960, quarter, func(age int) bool { return age%2 == 0 }), 0, schemas.RungBank, "and in 50 % of the last week: Network takes part once 75 % of a week are measured"},
		{"less than half of the week", measured(960, quarter, func(age int) bool { return age < 96 || age%3 == 0 }), 0, schemas.RungDay, "Bank takes part once 50 % of a week are measured"},
		{"an hour's step", measured(14*24, time.Hour, all), 0, schemas.RungFull, ""},
		{"a minute's step", measured(3*1440, time.Minute, all), 0, schemas.RungNetwork, ""},
		{"a season shorter than a day", measured(14*8, time.Hour, all), 8, schemas.RungFull, ""},
		{"a season longer than a day", measured(14*24, time.Hour, all), 168, schemas.RungFull, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := ladder.Judge(tt.series, tt.season, now)
			if g.Rung != tt.want || !strings.Contains(g.Message, tt.says) {
				t.Errorf("rung %s, %q; want %s, %q", g.Rung, g.Message, tt.want, tt.says)
			}
		})
	}
}

func TestWhoMayTakePart(t *testing.T) {
	const quarter = 15 * time.Minute
	silent := func(buckets int) *schemas.Series {
		return measured(960, quarter, func(age int) bool { return age >= buckets })
	}
	for _, tt := range []struct {
		name   string
		series *schemas.Series
		who    string
		want   schemas.Reason
	}{
		{"the network on three days", measured(288, quarter, all), schemas.Network, ""},
		{"the network on less", measured(287, quarter, all), schemas.Network, schemas.InsufficientData},
		{"the bank on two days", measured(192, quarter, all), schemas.Bank, ""},
		{"the bank on less", measured(191, quarter, all), schemas.Bank, schemas.InsufficientData},
		{"a forecaster of somebody else's on a day", measured(96, quarter, all), "Mine", ""},
		{"the network an hour after the newest sample", silent(4), schemas.Network, ""},
		{"the network later", silent(5), schemas.Network, schemas.StaleSamples},
		{"the bank six hours after the newest sample", silent(24), schemas.Bank, ""},
		{"the bank later", silent(25), schemas.Bank, schemas.StaleSamples},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ok, reason, message := ladder.Allows(tt.who, tt.series, 0, now)
			if ok != (tt.want == "") || reason != tt.want || ok != (message == "") {
				t.Errorf("allowed %v, %q, %q; want %q", ok, reason, message, tt.want)
			}
		})
	}
}

func TestARungIsReadBack(t *testing.T) {
	for r := schemas.RungNone; r <= schemas.RungFull; r++ {
		data, err := json.Marshal(schemas.Grade{Rung: r})
		if err != nil {
			t.Fatal(err)
		}
		var g schemas.Grade
		if err := json.Unmarshal(data, &g); err != nil || g.Rung != r {
			t.Errorf("%s is read back as %s, %v", data, g.Rung, err)
		}
	}
	var g schemas.Grade
	if err := json.Unmarshal([]byte(`{"rung":"roof"}`), &g); err == nil {
		t.Error("an unknown rung was read")
	}
}
