package artifact

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/self-scaling/self-scaling/schemas"
)

const (
	probeWriters = 8
	probeCleanup = 30 * time.Second
)

// Probe proves that the bucket keeps the promises that commits rest on: the
// second of two writers of a key is refused, of eight at the same time exactly
// one wins, and what was written is read, listed and deleted at once. It works
// under a key prefix of its own and removes what it wrote. A store that breaks a
// promise gives an error with CodeInvalidConfig; one that does not answer gives
// the driver's error.
func (s *Store) Probe(ctx context.Context) (err error) {
	if err := s.checkWritable(); err != nil {
		return err
	}
	prefix := "probe/" + rand.Text() + "/"
	first, contested := prefix+"first", prefix+"contested"
	defer func() {
		// What the probe wrote goes even if the caller has given up.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeCleanup)
		defer cancel()
		for _, key := range []string{first, contested} {
			if e := s.bucket.Delete(ctx, key); err == nil && e != nil {
				err = fmt.Errorf("probe of the store: %w", e)
			}
		}
	}()
	if err := s.probeConditional(ctx, first); err != nil {
		return err
	}
	winner, err := s.probeContested(ctx, contested)
	if err != nil {
		return err
	}
	return s.probeReads(ctx, prefix, map[string][]byte{first: []byte("1"), contested: winner})
}

func (s *Store) probeConditional(ctx context.Context, key string) error {
	if err := s.bucket.Create(ctx, key, []byte("1")); err != nil {
		if errors.Is(err, ErrExists) {
			return broken("refuses to create an object that does not exist")
		}
		return fmt.Errorf("probe of the store: %w", err)
	}
	err := s.bucket.Create(ctx, key, []byte("2"))
	if err == nil {
		return broken("ignores the condition of a conditional write (If-None-Match: *): a second writer replaced an object")
	}
	if !errors.Is(err, ErrExists) {
		return fmt.Errorf("probe of the store: %w", err)
	}
	return nil
}

// probeContested returns what the one winner wrote.
func (s *Store) probeContested(ctx context.Context, key string) ([]byte, error) {
	won := make([]bool, probeWriters)
	g, gctx := errgroup.WithContext(ctx)
	for i := range won {
		g.Go(func() error {
			err := s.bucket.Create(gctx, key, []byte{byte('a' + i)})
			won[i] = err == nil
			if err != nil && !errors.Is(err, ErrExists) {
				return fmt.Errorf("probe of the store: %w", err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var winners []byte
	for i, ok := range won {
		if ok {
			winners = append(winners, byte('a'+i))
		}
	}
	if len(winners) != 1 {
		return nil, broken(fmt.Sprintf("lets %d of %d simultaneous conditional writes of one object succeed, and must let one", len(winners), probeWriters))
	}
	return winners, nil
}

func (s *Store) probeReads(ctx context.Context, prefix string, want map[string][]byte) error {
	listed := make(map[string]bool)
	if err := s.bucket.List(ctx, prefix, func(o ObjectInfo) bool { listed[o.Key] = true; return true }); err != nil {
		return fmt.Errorf("probe of the store: %w", err)
	}
	for key, data := range want {
		got, err := s.bucket.Get(ctx, key)
		switch {
		case errors.Is(err, ErrNotFound):
			return broken("does not find an object that it has just stored")
		case err != nil:
			return fmt.Errorf("probe of the store: %w", err)
		case !bytes.Equal(got, data):
			return broken("returns other bytes than were written by the writer it let succeed")
		case !listed[key]:
			return broken("does not list an object that it has just stored")
		}
	}
	return nil
}

func broken(promise string) error {
	return schemas.Errorf(schemas.CodeInvalidConfig, "store cannot be used: it %s", promise)
}
