package vmconfig

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// looksLikeXML tells from the first four bytes: a byte order mark or a '<'.
func looksLikeXML(b []byte) bool {
	for _, p := range []string{"\xff\xfe", "\xfe\xff", "\xef\xbb\xbf", "<\x00", "\x00<", "<"} {
		if bytes.HasPrefix(b, []byte(p)) {
			return true
		}
	}
	return false
}

// readXML reads the format of Windows Server 2012 R2 and before: elements
// whose type attribute says what their text is.
func readXML(r io.ReaderAt, size int64) (*Node, error) {
	if size > 2*maxContent {
		return nil, &CorruptError{0, fmt.Sprintf("XML of %d bytes", size)}
	}
	b := make([]byte, size)
	if n, err := r.ReadAt(b, 0); int64(n) < size {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("vmconfig: read: %w", err)
	}
	text, err := toUTF8(b)
	if err != nil {
		return nil, err
	}
	d := xml.NewDecoder(bytes.NewReader(text))
	// The declaration names the encoding that was undone above.
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	p := &xmlParser{d: d, root: &Node{}}
	if err := p.run(); err != nil {
		return nil, err
	}
	return p.root, nil
}

func toUTF8(b []byte) ([]byte, error) {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(b, []byte("\xff\xfe")):
		order, b = binary.LittleEndian, b[2:]
	case bytes.HasPrefix(b, []byte("\xfe\xff")):
		order, b = binary.BigEndian, b[2:]
	case bytes.HasPrefix(b, []byte("<\x00")):
		order = binary.LittleEndian
	case bytes.HasPrefix(b, []byte("\x00<")):
		order = binary.BigEndian
	}
	if order == nil {
		b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
		if len(b) > maxContent {
			return nil, &CorruptError{0, fmt.Sprintf("XML of %d bytes", len(b))}
		}
		return b, nil
	}
	if len(b)%2 != 0 {
		return nil, &CorruptError{int64(len(b)), "half a UTF-16 character at the end"}
	}
	out := make([]byte, 0, len(b)/2)
	for i := 0; i < len(b); i += 2 {
		c := rune(order.Uint16(b[i:]))
		if utf16.IsSurrogate(c) && i+4 <= len(b) {
			if both := utf16.DecodeRune(c, rune(order.Uint16(b[i+2:]))); both != utf8.RuneError {
				c = both
				i += 2
			}
		}
		out = utf8.AppendRune(out, c)
		if len(out) > maxContent {
			return nil, &CorruptError{int64(i), "XML is too long"}
		}
	}
	return out, nil
}

type xmlParser struct {
	d     *xml.Decoder
	root  *Node
	stack []*xmlElement
	nodes int
}

type xmlElement struct {
	node *Node
	kind string
	text strings.Builder
}

func (p *xmlParser) run() error {
	for {
		t, err := p.d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = p.token(t)
		} else if _, ok := errors.AsType[*xml.SyntaxError](err); ok {
			err = p.corrupt(err.Error())
		}
		if err != nil {
			return err
		}
	}
	if len(p.root.Children) != 1 {
		return p.corrupt("not one root element")
	}
	return nil
}

func (p *xmlParser) corrupt(what string) error { return &CorruptError{p.d.InputOffset(), what} }

func (p *xmlParser) token(t xml.Token) error {
	switch t := t.(type) {
	case xml.StartElement:
		return p.start(t)
	case xml.CharData:
		if n := len(p.stack); n > 0 && len(p.stack[n-1].node.Children) == 0 {
			p.stack[n-1].text.Write(t)
		}
	case xml.EndElement:
		return p.end()
	case xml.Directive:
		return p.corrupt("document types are not accepted")
	}
	return nil
}

func (p *xmlParser) start(t xml.StartElement) error {
	if len(p.stack) == maxDepth {
		return p.corrupt("tree is too deep")
	}
	if p.nodes++; p.nodes > maxNodes {
		return p.corrupt("too many elements")
	}
	if !validName(t.Name.Local) {
		return p.corrupt("name of an element")
	}
	e := &xmlElement{node: &Node{Name: t.Name.Local}}
	for _, a := range t.Attr {
		if a.Name.Local == "type" {
			e.kind = a.Value
		}
	}
	parent := p.root
	if n := len(p.stack); n > 0 {
		parent = p.stack[n-1].node
	} else if len(p.root.Children) > 0 {
		return p.corrupt("not one root element")
	}
	parent.Children = append(parent.Children, e.node)
	p.stack = append(p.stack, e)
	return nil
}

func (p *xmlParser) end() error {
	e := p.stack[len(p.stack)-1]
	p.stack = p.stack[:len(p.stack)-1]
	if len(e.node.Children) > 0 || e.kind == "" {
		return nil
	}
	v, err := xmlValue(e.kind, e.text.String())
	if err != nil {
		return p.corrupt(fmt.Sprintf("%q: %v", e.node.Name, err))
	}
	e.node.Value = v
	return nil
}

func xmlValue(kind, text string) (any, error) {
	if trimmed := strings.TrimSpace(text); kind == "integer" || kind == "double" || kind == "bool" {
		if len(trimmed) > 64 {
			return nil, fmt.Errorf("%s of %d characters", kind, len(trimmed))
		}
		text = trimmed
	}
	switch kind {
	case "integer":
		if u, err := strconv.ParseUint(text, 10, 64); err == nil && u > 1<<63-1 {
			return u, nil
		}
		return strconv.ParseInt(text, 10, 64)
	case "double":
		return strconv.ParseFloat(text, 64)
	case "bool":
		return strconv.ParseBool(strings.ToLower(text))
	case "bytes":
		return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	}
	return text, nil
}
