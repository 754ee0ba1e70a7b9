package fs

import (
	"bytes"
	"encoding/json"

	"vitrine/repo"
)

// describe is restore-point.json.
func describe(p *repo.RestorePoint) []byte {
	text, err := p.Describe()
	if err != nil {
		return document(map[string]string{"error": err.Error()})
	}
	return text
}

// some makes an absent list an empty one.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// document writes v for people. A value that JSON cannot hold (a time in the
// year 10000) is told instead.
func document(v any) []byte {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		text, _ = json.Marshal(map[string]string{"error": err.Error()})
	}
	return append(text, '\n')
}

// indented writes a JSON text for people, and anything else as it is.
func indented(text []byte) []byte {
	var b bytes.Buffer
	if json.Indent(&b, text, "", "  ") != nil {
		return text
	}
	b.WriteByte('\n')
	return b.Bytes()
}
