package framework

import "sync"

// CycleState carries what one plugin leaves for another within one component's
// pass. It may be used from several goroutines. Keys are of types private to
// the plugin that writes them, as with context.Context.
type CycleState struct {
	values sync.Map
}

// NewCycleState returns an empty state.
func NewCycleState() *CycleState { return &CycleState{} }

// Write keeps value under key, replacing what was there.
func (s *CycleState) Write(key, value any) { s.values.Store(key, value) }

// Delete forgets what was written under key.
func (s *CycleState) Delete(key any) { s.values.Delete(key) }

// Read returns what was written under key.
func (s *CycleState) Read(key any) (value any, ok bool) { return s.values.Load(key) }
