package api

import (
	"encoding/base64"
	"encoding/json"
	"hash/fnv"
	"net/http"

	"github.com/self-scaling/self-scaling/schemas"
)

// maxCursor is the longest cursor that is looked at.
const maxCursor = 1024

// cursor says where a page ended. It belongs to the question that it was given for:
// another one is a mistake that must not show as a gap.
type cursor struct {
	Question uint64          `json:"q"`
	At       json.RawMessage `json:"at"`
}

// question returns what tells questions apart.
func question(parts ...string) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return h.Sum64()
}

// encodeCursor returns the cursor of a place in the answer to a question.
func encodeCursor(question uint64, at any) string {
	place, err := json.Marshal(at)
	if err != nil {
		panic(err) // places are numbers and strings
	}
	data, err := json.Marshal(cursor{question, place})
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// decodeCursor reads a cursor into at, which stays as it is where there is none.
func decodeCursor(s string, question uint64, at any) error {
	if s == "" {
		return nil
	}
	bad := newProblem(http.StatusBadRequest, schemas.CodeInvalidConfig, "cursor must be the member next of an earlier answer to the same question")
	if len(s) > maxCursor {
		return bad
	}
	data, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return bad
	}
	var c cursor
	if err := json.Unmarshal(data, &c); err != nil || c.Question != question {
		return bad
	}
	if err := json.Unmarshal(c.At, at); err != nil {
		return bad
	}
	return nil
}
