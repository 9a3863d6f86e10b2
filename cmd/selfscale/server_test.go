package main

import (
	"bufio"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// startServer starts a server on a free port and waits until it listens. The script finds
// it in SELFSCALE_SERVER.
func startServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: serve [argument...]")
	}
	path, err := exec.LookPath("selfscale")
	ts.Check(err)
	log, err := os.Create(ts.MkAbs("serve.log"))
	ts.Check(err)
	cmd := exec.Command(path, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Dir, cmd.Stderr = ts.MkAbs("."), log
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	s := &serving{cmd: cmd, ended: ended}
	ts.Defer(func() {
		if !s.done {
			_ = cmd.Process.Kill()
			<-ended
		}
		log.Close()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	go func() { ended <- cmd.Wait() }()
	if err != nil {
		ts.Fatalf("selfscale serve does not listen: %s", ts.ReadFile("serve.log"))
	}
	_, after, _ := strings.Cut(line, "http://")
	address, _, ok := strings.Cut(after, "/")
	if !ok {
		ts.Fatalf("selfscale serve says %q, want where it is", line)
	}
	ts.Setenv("SELFSCALE_SERVER", "http://"+address)
	running.set(ts.Name(), s)
}

// serving is a server that a script runs.
type serving struct {
	cmd   *exec.Cmd
	ended <-chan error
	done  bool
}

// running are the servers by script. Scripts run at once, each with one server.
var running servers

type servers struct{ sync.Map }

func (s *servers) set(script string, v *serving) { s.Store(script, v) }

func (s *servers) get(script string) *serving {
	v, _ := s.Load(script)
	x, _ := v.(*serving)
	return x
}

func quitServer(ts *testscript.TestScript, neg bool, args []string) {
	s := running.get(ts.Name())
	if neg || len(args) > 0 || s == nil {
		ts.Fatalf("usage: quit, after serve")
	}
	ts.Check(s.cmd.Process.Signal(os.Interrupt))
	s.done = true
	if err := <-s.ended; err != nil {
		ts.Fatalf("selfscale serve: %v: %s", err, ts.ReadFile("serve.log"))
	}
}

// untilPrinted runs a program until its output matches. What is waited for comes; the bound
// only ends a wait for what never does.
func untilPrinted(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until pattern program [argument...]")
	}
	wanted, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	deadline := time.Now().Add(3 * time.Minute)
	for {
		cmd := exec.Command(path, args[2:]...)
		cmd.Env = append(os.Environ(), "SELFSCALE_SERVER="+ts.Getenv("SELFSCALE_SERVER"))
		cmd.Dir = ts.MkAbs(".")
		out, err := cmd.CombinedOutput()
		if err == nil && wanted.Match(out) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v never prints %s, but %s (%v)", args[1:], args[0], out, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
