package access_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/self-scaling/self-scaling/api/access"
	"github.com/self-scaling/self-scaling/schemas"
)

var start = time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)

// reviewer is one whose answers are set, and who counts what it is asked.
type reviewer struct {
	mu      sync.Mutex
	users   map[string]access.User // by token
	allowed bool
	err     error
	tokens  int
	rights  int
	wait    chan struct{} // nil for answers at once
}

func (r *reviewer) Review(ctx context.Context, token string) (access.User, error) {
	r.mu.Lock()
	r.tokens++
	u, ok := r.users[token]
	err, wait := r.err, r.wait
	r.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return access.User{}, ctx.Err()
		}
	}
	if err == nil && !ok {
		err = access.ErrUnauthenticated
	}
	return u, err
}

func (r *reviewer) Allows(context.Context, access.User, access.Action) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rights++
	return r.allowed, r.err
}

func (r *reviewer) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func newCache(o access.Options) (*access.Cache, *reviewer, *clocktesting.FakePassiveClock) {
	r := &reviewer{users: map[string]access.User{"a": {Name: "alice"}}}
	clock := clocktesting.NewFakePassiveClock(start)
	o.Clock = clock
	return access.NewCache(r, o), r, clock
}

func TestTokensAreBelievedForAWhile(t *testing.T) {
	for _, tt := range []struct {
		name  string
		token string
		after time.Duration
		asked int // how often the reviewer is asked, of two times
		want  error
	}{
		{"a valid one again", "a", 29 * time.Second, 1, nil},
		{"a valid one at the end of its time", "a", 30 * time.Second, 2, nil},
		{"one that is not valid again", "b", 9 * time.Second, 1, access.ErrUnauthenticated},
		{"one that is not valid at the end of its time", "b", 10 * time.Second, 2, access.ErrUnauthenticated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, r, clock := newCache(access.Options{})
			for range 2 {
				if u, err := c.Review(t.Context(), tt.token); !errors.Is(err, tt.want) || err == nil && u.Name != "alice" {
					t.Errorf("review is %+v, %v, want %v", u, err, tt.want)
				}
				clock.SetTime(start.Add(tt.after))
			}
			if r.tokens != tt.asked {
				t.Errorf("the reviewer was asked %d times, want %d", r.tokens, tt.asked)
			}
		})
	}
}

func TestRightsAreBelievedForAWhile(t *testing.T) {
	action := access.Action{Verb: access.Get, Resource: "runs"}
	for _, tt := range []struct {
		name  string
		first bool
		after time.Duration
		want  bool // after the right has been given or taken away
	}{
		{"one that was taken away goes on", true, 29 * time.Second, true},
		{"but not for ever", true, 30 * time.Second, false},
		{"one that was given is not there at once", false, 9 * time.Second, false},
		{"but soon", false, 10 * time.Second, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, r, clock := newCache(access.Options{})
			r.allowed = tt.first
			if ok, err := c.Allows(t.Context(), access.User{Name: "alice"}, action); ok != tt.first || err != nil {
				t.Fatalf("at first: %v, %v", ok, err)
			}
			r.allowed = !tt.first
			clock.SetTime(start.Add(tt.after))
			if ok, err := c.Allows(t.Context(), access.User{Name: "alice"}, action); ok != tt.want || err != nil {
				t.Errorf("afterwards: %v, %v, want %v", ok, err, tt.want)
			}
		})
	}
}

func TestRightsBelongToOneUserAndAction(t *testing.T) {
	alice := access.User{Name: "alice", Groups: []string{"ops"}, Extra: map[string][]string{"k": {"v"}}}
	get := access.Action{Verb: access.Get, Resource: "runs"}
	c, r, _ := newCache(access.Options{})
	r.allowed = true
	if ok, _ := c.Allows(t.Context(), alice, get); !ok {
		t.Fatal("not allowed at first")
	}
	r.allowed = false
	for name, other := range map[string]struct {
		user   access.User
		action access.Action
	}{
		"another name":          {access.User{Name: "bob", Groups: alice.Groups, Extra: alice.Extra}, get},
		"another uid":           {access.User{Name: "alice", UID: "2", Groups: alice.Groups, Extra: alice.Extra}, get},
		"another group":         {access.User{Name: "alice", Groups: []string{"dev"}, Extra: alice.Extra}, get},
		"no group":              {access.User{Name: "alice", Extra: alice.Extra}, get},
		"groups that run on":    {access.User{Name: "alice", Groups: []string{"op", "s"}, Extra: alice.Extra}, get},
		"another extra":         {access.User{Name: "alice", Groups: alice.Groups, Extra: map[string][]string{"k": {"w"}}}, get},
		"an extra as a group":   {access.User{Name: "alice", Groups: []string{"ops", "k", "v"}}, get},
		"another verb":          {alice, access.Action{Verb: access.Delete, Resource: "runs"}},
		"another resource":      {alice, access.Action{Verb: access.Get, Resource: "models"}},
		"within a namespace":    {alice, access.Action{Verb: access.Get, Resource: "runs", Namespace: "prod"}},
		"words that run on":     {access.User{Name: "alice", Groups: alice.Groups, Extra: alice.Extra}, access.Action{Verb: "getr", Resource: "uns"}},
		"a name with a NUL":     {access.User{Name: "alice\x00", Groups: alice.Groups, Extra: alice.Extra}, get},
		"a NUL between objects": {access.User{Name: "", UID: "alice", Groups: alice.Groups, Extra: alice.Extra}, get},
	} {
		if ok, err := c.Allows(t.Context(), other.user, other.action); ok || err != nil {
			t.Errorf("%s: allowed by what was said of somebody or something else (%v)", name, err)
		}
	}
	if ok, _ := c.Allows(t.Context(), alice, get); !ok {
		t.Error("what was said is no longer known")
	}
}

func TestFailuresAreNotRemembered(t *testing.T) {
	c, r, _ := newCache(access.Options{})
	r.allowed = true
	r.err = schemas.Errorf(schemas.CodeUnavailable, "no answer")
	if _, err := c.Review(t.Context(), "a"); schemas.CodeOf(err) != schemas.CodeUnavailable {
		t.Errorf("review returns %v", err)
	}
	action := access.Action{Verb: access.Get, Resource: "runs"}
	if ok, err := c.Allows(t.Context(), access.User{Name: "alice"}, action); ok || schemas.CodeOf(err) != schemas.CodeUnavailable {
		t.Errorf("allowed is %v, %v", ok, err)
	}
	r.err = nil
	if _, err := c.Review(t.Context(), "a"); err != nil {
		t.Errorf("review afterwards returns %v", err)
	}
	if ok, err := c.Allows(t.Context(), access.User{Name: "alice"}, action); !ok || err != nil {
		t.Errorf("allowed afterwards is %v, %v", ok, err)
	}
}

func TestGuessingIsSlowedDown(t *testing.T) {
	c, r, clock := newCache(access.Options{Rate: 10})
	if _, err := c.Review(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	busy := 0
	for i := range 100 {
		switch _, err := c.Review(t.Context(), "guess "+strconv.Itoa(i)); {
		case errors.Is(err, access.ErrBusy):
			busy++
			if schemas.CodeOf(err) != schemas.CodeUnavailable {
				t.Errorf("busy has the code %q", schemas.CodeOf(err))
			}
		case !errors.Is(err, access.ErrUnauthenticated):
			t.Errorf("a guess returns %v", err)
		}
	}
	if r.tokens != 10 || busy != 91 {
		t.Errorf("the reviewer was asked %d times and %d guesses were turned away, want 10 and 91", r.tokens, busy)
	}
	// Those who are known are not held up.
	if _, err := c.Review(t.Context(), "a"); err != nil {
		t.Errorf("a token that is known: %v", err)
	}
	clock.SetTime(start.Add(time.Second))
	if _, err := c.Review(t.Context(), "later"); !errors.Is(err, access.ErrUnauthenticated) {
		t.Errorf("a guess a second later: %v", err)
	}
}

func TestOneQuestionIsAskedOnce(t *testing.T) {
	c, r, _ := newCache(access.Options{})
	r.wait = make(chan struct{})
	// Who asked first leaves; the others still get the answer.
	leaving, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := c.Review(leaving, "a")
		left <- err
	}()
	for asked := 0; asked == 0; {
		r.set(func() { asked = r.tokens })
	}
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who leaves gets %v", err)
	}
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if u, err := c.Review(t.Context(), "a"); err != nil || u.Name != "alice" {
				t.Errorf("review is %+v, %v", u, err)
			}
		})
	}
	close(r.wait)
	group.Wait()
	if r.tokens != 1 {
		t.Errorf("the reviewer was asked %d times, want once", r.tokens)
	}
}

func TestCacheIsBounded(t *testing.T) {
	c, r, _ := newCache(access.Options{Entries: 3, Rate: 1000})
	for i := range 4 {
		r.users[strconv.Itoa(i)] = access.User{Name: "u"}
		if _, err := c.Review(t.Context(), strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Review(t.Context(), "0"); err != nil || r.tokens != 5 {
		t.Errorf("the token that was used longest ago: %v, asked %d times, want 5", err, r.tokens)
	}
}
