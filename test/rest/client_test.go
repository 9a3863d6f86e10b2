//go:build load

package rest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// connection speaks just enough HTTP/1.1 to read answers with a Content-Length, or in
// chunks, so that who asks takes as little of the machine as possible from who answers.
type connection struct {
	conn net.Conn
	r    *bufio.Reader
	body []byte
}

func dial(address string) (*connection, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &connection{conn: c, r: bufio.NewReaderSize(c, 64<<10)}, nil
}

// request returns what is sent for a GET.
func request(path string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

// do sends a request and returns the answer's status, whether it was marked as stale,
// and its body, which is good until the next request.
func (c *connection) do(request []byte) (status int, stale bool, body []byte, err error) {
	if err = c.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return
	}
	if _, err = c.conn.Write(request); err != nil {
		return
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return
	}
	if len(line) < 12 {
		return 0, false, nil, fmt.Errorf("status line is %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return
	}
	length, chunked := 0, false
	for {
		if line, err = c.r.ReadSlice('\n'); err != nil {
			return
		}
		if len(line) <= 2 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		case bytes.EqualFold(name, []byte("Self-Scaling-Stale-Since")):
			stale = true
		}
	}
	c.body = c.body[:0]
	if !chunked {
		err = c.take(length)
		return status, stale, c.body, err
	}
	for {
		if line, err = c.r.ReadSlice('\n'); err != nil {
			return
		}
		n, bad := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if bad != nil {
			return 0, false, nil, bad
		}
		if err = c.take(int(n)); err != nil {
			return
		}
		if _, err = c.r.Discard(2); err != nil || n == 0 {
			return status, stale, c.body, err
		}
	}
}

func (c *connection) take(n int) error {
	at := len(c.body)
	c.body = slices.Grow(c.body, n)[:at+n]
	_, err := io.ReadFull(c.r, c.body[at:])
	return err
}

// result is what became of many requests.
type result struct {
	took     []time.Duration // from when each was due, ascending
	errors   int
	stale    int
	bytes    int64
	elapsed  time.Duration
	examples []string // of errors
}

// quantile returns how long the given share of the requests took, at most.
func (r *result) quantile(q float64) time.Duration {
	if len(r.took) == 0 {
		return 0
	}
	return r.took[min(len(r.took)-1, int(q*float64(len(r.took))))]
}

func (r *result) String() string {
	return fmt.Sprintf("%d requests in %s, %.0f/s, %d errors, %d stale; p50 %s, p90 %s, p99 %s, p99.9 %s, longest %s; %d bytes an answer %v",
		len(r.took)+r.errors, r.elapsed.Round(time.Millisecond), float64(len(r.took))/r.elapsed.Seconds(), r.errors, r.stale,
		r.quantile(.5), r.quantile(.9), r.quantile(.99), r.quantile(.999), r.quantile(1), r.bytes/int64(max(1, len(r.took))), r.examples)
}

// drive sends requests over a number of connections for a time. With a rate, in
// requests a second, each is sent when it is due, and what it waits for because those
// before it took long counts as its own; without one, as fast as they are answered.
func drive(address string, connections int, rate float64, long time.Duration, next func(i int) []byte) *result {
	type due struct {
		i  int
		at time.Time
	}
	queue := make(chan due, 1<<16)
	var mu sync.Mutex
	total := &result{}
	began := time.Now()
	end := began.Add(long)
	var group sync.WaitGroup
	for n := range connections {
		group.Go(func() {
			var mine result
			var c *connection
			fail := func(format string, args ...any) {
				mine.errors++
				if len(mine.examples) < 2 {
					mine.examples = append(mine.examples, fmt.Sprintf(format, args...))
				}
			}
			one := func(d due) {
				var err error
				if c == nil {
					if c, err = dial(address); err != nil {
						fail("%v", err)
						return
					}
				}
				status, stale, body, err := c.do(next(d.i))
				if err != nil {
					fail("%v", err)
					c.conn.Close()
					c = nil
					return
				}
				if status != 200 {
					fail("%s: status %d: %.200s", next(d.i), status, body)
					return
				}
				if stale {
					mine.stale++
				}
				mine.bytes += int64(len(body))
				mine.took = append(mine.took, time.Since(d.at))
			}
			if rate > 0 {
				for d := range queue {
					one(d)
				}
			} else {
				for i := n; ; i += connections {
					now := time.Now()
					if now.After(end) {
						break
					}
					one(due{i, now})
				}
			}
			if c != nil {
				c.conn.Close()
			}
			mu.Lock()
			defer mu.Unlock()
			total.took = append(total.took, mine.took...)
			total.errors += mine.errors
			total.stale += mine.stale
			total.bytes += mine.bytes
			total.examples = append(total.examples, mine.examples...)
		})
	}
	if rate > 0 {
		for i := 0; ; i++ {
			at := began.Add(time.Duration(float64(i) / rate * float64(time.Second)))
			if at.After(end) {
				break
			}
			time.Sleep(time.Until(at))
			queue <- due{i, at}
		}
	}
	close(queue)
	group.Wait()
	total.elapsed = time.Since(began)
	slices.Sort(total.took)
	total.examples = total.examples[:min(len(total.examples), 3)]
	return total
}
