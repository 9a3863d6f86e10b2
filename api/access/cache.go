package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
)

// Options say how long a [Cache] believes what it was told. The zero value works.
type Options struct {
	// Yes and No are how long a right or a valid token, and a refusal, are
	// believed; 0 means 30 s and 10 s. A right that is taken away goes on for as
	// long as Yes.
	Yes, No time.Duration
	// Entries bounds how many tokens and how many rights are remembered; 0 means
	// 4096 each.
	Entries int
	// Rate is how many tokens that are not remembered are looked at a second; 0
	// means 100. It keeps who tries tokens out from burdening the API server.
	Rate  float64
	Clock clock.PassiveClock // nil means the real one
}

// Cache remembers what a [Reviewer] said. Failures are not remembered.
type Cache struct {
	reviewer Reviewer
	options  Options
	tokens   *lru.Cache
	rights   *lru.Cache
	asking   singleflight.Group
	limit    *rate.Limiter
}

var _ Reviewer = (*Cache)(nil)

// NewCache returns a cache before a reviewer.
func NewCache(r Reviewer, o Options) *Cache {
	if o.Yes == 0 {
		o.Yes = 30 * time.Second
	}
	if o.No == 0 {
		o.No = 10 * time.Second
	}
	if o.Entries == 0 {
		o.Entries = 4096
	}
	if o.Rate == 0 {
		o.Rate = 100
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	return &Cache{
		reviewer: r, options: o, tokens: lru.New(o.Entries), rights: lru.New(o.Entries),
		limit: rate.NewLimiter(rate.Limit(o.Rate), int(max(1, o.Rate))),
	}
}

// remembered is an answer and until when it is believed.
type remembered struct {
	until time.Time
	user  User
	yes   bool
}

// Review implements [Reviewer].
func (c *Cache) Review(ctx context.Context, token string) (User, error) {
	// The token itself is not kept.
	key := sha256.Sum256([]byte(token))
	if r, ok := c.get(c.tokens, key); ok {
		return r.user, refusal(r.yes)
	}
	if !c.limit.AllowN(c.options.Clock.Now(), 1) {
		return User{}, ErrBusy
	}
	v, err := c.once(ctx, "token ", c.tokens, key, func(ctx context.Context) (remembered, error) {
		u, err := c.reviewer.Review(ctx, token)
		if err != nil && !errors.Is(err, ErrUnauthenticated) {
			return remembered{}, err
		}
		return remembered{user: u, yes: err == nil}, nil
	})
	if err != nil {
		return User{}, err
	}
	return v.user, refusal(v.yes)
}

func refusal(yes bool) error {
	if yes {
		return nil
	}
	return ErrUnauthenticated
}

// Allows implements [Reviewer].
func (c *Cache) Allows(ctx context.Context, u User, a Action) (bool, error) {
	key := rightsKey(u, a)
	if r, ok := c.get(c.rights, key); ok {
		return r.yes, nil
	}
	v, err := c.once(ctx, "right ", c.rights, key, func(ctx context.Context) (remembered, error) {
		yes, err := c.reviewer.Allows(ctx, u, a)
		if err != nil {
			return remembered{}, err
		}
		return remembered{yes: yes}, nil
	})
	return v.yes, err
}

// rightsKey tells users with other groups or extras apart: their rights differ.
func rightsKey(u User, a Action) [sha256.Size]byte {
	var b strings.Builder
	write := func(parts ...string) {
		for _, p := range parts {
			b.WriteString(p)
			b.WriteByte(0)
		}
		b.WriteByte(1)
	}
	write(a.Verb, a.Resource, a.Namespace, u.Name, u.UID)
	write(u.Groups...)
	extras := make([]string, 0, len(u.Extra))
	for name := range u.Extra {
		extras = append(extras, name)
	}
	slices.Sort(extras)
	for _, name := range extras {
		write(name)
		write(u.Extra[name]...)
	}
	return sha256.Sum256([]byte(b.String()))
}

func (c *Cache) get(from *lru.Cache, key any) (remembered, bool) {
	v, ok := from.Get(key)
	if !ok {
		return remembered{}, false
	}
	r := v.(remembered)
	return r, c.options.Clock.Now().Before(r.until)
}

func (c *Cache) put(to *lru.Cache, key any, r remembered) remembered {
	r.until = c.options.Clock.Now().Add(c.options.No)
	if r.yes {
		r.until = c.options.Clock.Now().Add(c.options.Yes)
	}
	to.Add(key, r)
	return r
}

// once asks one question once, however many callers have it, and remembers the answer.
// The asking goes on when one of them leaves.
func (c *Cache) once(ctx context.Context, kind string, answers *lru.Cache, key [sha256.Size]byte, ask func(context.Context) (remembered, error)) (remembered, error) {
	answer := c.asking.DoChan(kind+string(key[:]), func() (any, error) {
		// It may have been answered since the caller looked.
		if r, ok := c.get(answers, key); ok {
			return r, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		r, err := ask(ctx)
		if err != nil {
			return remembered{}, err
		}
		return c.put(answers, key, r), nil
	})
	select {
	case r := <-answer:
		v, _ := r.Val.(remembered)
		return v, r.Err
	case <-ctx.Done():
		return remembered{}, ctx.Err()
	}
}
