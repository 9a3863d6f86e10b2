package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A daemon is a process that outlives the harness. Its output is in <name>.log, and
// its process id and start time in <name>.pid, both in the cluster's folder.
type daemon struct {
	dir, name string
}

func (d daemon) logFile() string { return filepath.Join(d.dir, "log", d.name+".log") }
func (d daemon) pidFile() string { return filepath.Join(d.dir, "log", d.name+".pid") }

// start starts the daemon unless it runs.
func (d daemon) start(argv ...string) error {
	if d.pid() != 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(d.logFile()), 0o755); err != nil {
		return err
	}
	log, err := os.Create(d.logFile())
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, d.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", d.name, err)
	}
	began, _, err := startTime(cmd.Process.Pid)
	if err != nil {
		return err
	}
	go cmd.Wait() // so that its end shows while the harness waits for it
	return os.WriteFile(d.pidFile(), fmt.Appendf(nil, "%d %s\n", cmd.Process.Pid, began), 0o644)
}

// pid returns the id of the running process, 0 if there is none. A process that
// merely has the id again is none.
func (d daemon) pid() int {
	data, err := os.ReadFile(d.pidFile())
	if err != nil {
		return 0
	}
	first, began, _ := strings.Cut(strings.TrimSpace(string(data)), " ")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return 0
	}
	if now, runs, err := startTime(pid); err != nil || now != began || !runs {
		return 0
	}
	return pid
}

// stop ends the daemon, by force if it does not end by itself.
func (d daemon) stop(ctx context.Context) error {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		pid := d.pid()
		if pid == 0 {
			break
		}
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stopping %s: %w", d.name, err)
		}
		poll(ctx, 10*time.Second, 100*time.Millisecond, func() error {
			if d.pid() != 0 {
				return errors.New("still runs")
			}
			return nil
		})
	}
	if pid := d.pid(); pid != 0 {
		return fmt.Errorf("stopping %s: process %d does not end", d.name, pid)
	}
	if err := os.Remove(d.pidFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// kill ends the daemon without a warning.
func (d daemon) kill() error {
	pid := d.pid()
	if pid == 0 {
		return fmt.Errorf("killing %s: it does not run", d.name)
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// startTime tells when a process was started, in the kernel's ticks since boot, and
// whether it still runs: one that has ended stays until it is waited for.
func startTime(pid int) (began string, runs bool, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false, err
	}
	// The fields are counted from behind the command's name, which may hold blanks.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 20 {
		return "", false, fmt.Errorf("/proc/%d/stat has an unknown form", pid)
	}
	return fields[19], fields[0] != "Z" && fields[0] != "X", nil
}

// poll tries until it succeeds, the limit is over or the context ends, and returns
// the last failure.
func poll(ctx context.Context, limit, interval time.Duration, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		var final finalError
		if errors.As(err, &final) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", limit, err)
		case <-time.After(interval):
		}
	}
}

// A finalError is one that no further try can mend.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// await waits for a condition that daemons bring about. Its error ends with what
// they logged last, and comes at once when one of them has ended.
func await(ctx context.Context, what string, limit time.Duration, daemons []daemon, try func() error) error {
	err := poll(ctx, limit, 500*time.Millisecond, func() error {
		err := try()
		if err == nil {
			return nil
		}
		for _, d := range daemons {
			if d.pid() == 0 {
				return finalError{fmt.Errorf("%s has ended: %w", d.name, err)}
			}
		}
		return err
	})
	if err == nil {
		return nil
	}
	err = fmt.Errorf("waiting until %s: %w", what, err)
	for _, d := range daemons {
		if data, readErr := os.ReadFile(d.logFile()); readErr == nil {
			err = fmt.Errorf("%w\n--- end of %s\n%s", err, d.logFile(), tail(string(data), 25))
		}
	}
	return err
}
