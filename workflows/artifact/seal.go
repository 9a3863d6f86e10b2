package artifact

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/self-scaling/self-scaling/schemas"
)

// A sealed document is one line of JSON whose last member is the SHA-256 of the
// document without that member:
//
//	{"format":1,...,"sum":"<64 hexadecimal digits>"}\n
//
// The sum is over bytes and not over values, so that any change to the object
// shows, and a reader can check members that it does not know.
const (
	sealOpen  = `,"sum":"`
	sealClose = "\"}\n"
	sealSize  = len(sealOpen) + 64 + len(sealClose)
)

// seal returns the document of v, whose own sum must be empty, and its sum.
func seal(v any) (data []byte, sum string, err error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, "", err
	}
	body := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	sum = sumOf(body)
	data = append(bytes.TrimSuffix(body, []byte("}")), sealOpen+sum+sealClose...)
	return data, sum, nil
}

// unseal checks a document's sum, decodes the document into v and returns the
// sum. Errors wrap [ErrCorrupt], except that an intact document of another format
// has CodeInvalidConfig: it must not be passed over as if it were damaged, or an
// old program would carry on from what was current before the new one came.
func unseal(data []byte, v any) (sum string, err error) {
	n := len(data) - sealSize
	if n < 1 || !bytes.HasPrefix(data[n:], []byte(sealOpen)) || !bytes.HasSuffix(data, []byte(sealClose)) {
		return "", fmt.Errorf("document of %d bytes does not end with its sum: %w", len(data), ErrCorrupt)
	}
	sum = string(data[n+len(sealOpen) : len(data)-len(sealClose)])
	body := append(bytes.Clone(data[:n]), '}')
	if got := sumOf(body); got != sum {
		return "", fmt.Errorf("document must have the sum %q, but has %s: %w", sum, got, ErrCorrupt)
	}
	var header struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(body, &header); err != nil {
		return "", fmt.Errorf("document has a right sum and no format (%v): %w", err, ErrCorrupt)
	}
	if header.Format != ManifestFormat {
		return "", schemas.Errorf(schemas.CodeInvalidConfig, "document must have the format %d, but has %d: another version of the program wrote it", ManifestFormat, header.Format)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return "", fmt.Errorf("document has a right sum and a wrong form (%v): %w", err, ErrCorrupt)
	}
	return sum, nil
}
