package framework

import "sync"

// CycleState carries what one plugin leaves for another within one component's
// pass. It may be used from several goroutines. Keys are of types private to
// the plugin that writes them, as with context.Context.
type CycleState struct {
	values, working sync.Map
}

// NewCycleState returns an empty state.
func NewCycleState() *CycleState { return &CycleState{} }

// Write keeps value under key, replacing what was there.
func (s *CycleState) Write(key, value any) { s.values.Store(key, value) }

// WriteWorking keeps value under key until the forecast cycle ends: for what is large
// and of no use to the plugins after it.
func (s *CycleState) WriteWorking(key, value any) { s.working.Store(key, value) }

// EndForecastCycle forgets what [CycleState.WriteWorking] kept. The framework calls it.
func (s *CycleState) EndForecastCycle() { s.working.Clear() }

// Delete forgets what was written under key.
func (s *CycleState) Delete(key any) {
	s.values.Delete(key)
	s.working.Delete(key)
}

// Read returns what was written under key.
func (s *CycleState) Read(key any) (value any, ok bool) {
	if value, ok = s.values.Load(key); ok {
		return value, ok
	}
	return s.working.Load(key)
}
