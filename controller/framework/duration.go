package framework

import "github.com/self-scaling/self-scaling/schemas"

// Duration is a time in a profile, written as Go writes it.
type Duration = schemas.Duration
