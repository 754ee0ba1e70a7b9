package disk

import (
	"encoding/hex"
	"fmt"
)

// GUID is a Windows GUID in its byte order on disk: the first three groups of
// the text form are little-endian, the last two are as written. Disk formats
// and Hyper-V configurations keep identities as GUIDs.
type GUID [16]byte

// guidText maps the bytes of a GUID to the places of their two hex digits in
// the text form.
var guidText = [16]int{6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34}

// ParseGUID reads xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx in either case, with or
// without braces around it.
func ParseGUID(s string) (GUID, error) {
	t := s
	if len(t) == 38 && t[0] == '{' && t[37] == '}' {
		t = t[1:37]
	}
	if len(t) != 36 || t[8] != '-' || t[13] != '-' || t[18] != '-' || t[23] != '-' {
		return GUID{}, fmt.Errorf("disk: parse guid %.64q: not of the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", s)
	}
	var g GUID
	for i, at := range guidText {
		if _, err := hex.Decode(g[i:i+1], []byte(t[at:at+2])); err != nil {
			return GUID{}, fmt.Errorf("disk: parse guid %.64q: %w", s, err)
		}
	}
	return g, nil
}

// String returns the text form in lower case, without braces.
func (g GUID) String() string {
	text, _ := g.MarshalText()
	return string(text)
}

// MarshalText returns what String returns.
func (g GUID) MarshalText() ([]byte, error) {
	text := []byte("00000000-0000-0000-0000-000000000000")
	for i, at := range guidText {
		hex.Encode(text[at:at+2], g[i:i+1])
	}
	return text, nil
}

// UnmarshalText reads what ParseGUID reads.
func (g *GUID) UnmarshalText(text []byte) error {
	parsed, err := ParseGUID(string(text))
	if err != nil {
		return err
	}
	*g = parsed
	return nil
}

// IsZero reports whether all bytes are zero.
func (g GUID) IsZero() bool {
	return g == GUID{}
}
