package vmconfigtest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"

	"vitrine/backup/vmconfig"
)

// XML writes a tree as Windows Server 2012 R2 does: UTF-16 with a byte order
// mark and CRLF. It panics on values of other types.
func XML(root *vmconfig.Node) []byte {
	var s strings.Builder
	s.WriteString("<?xml version=\"1.0\" encoding=\"UTF-16\" standalone=\"yes\"?>\r\n")
	for _, n := range root.Children {
		element(&s, n, 0)
	}
	b := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(s.String())) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func element(s *strings.Builder, n *vmconfig.Node, depth int) {
	indent := strings.Repeat("  ", depth)
	if n.Value == nil {
		fmt.Fprintf(s, "%s<%s>\r\n", indent, n.Name)
		for _, c := range n.Children {
			element(s, c, depth+1)
		}
		fmt.Fprintf(s, "%s</%s>\r\n", indent, n.Name)
		return
	}
	kind, text := "", ""
	switch v := n.Value.(type) {
	case int64:
		kind, text = "integer", fmt.Sprint(v)
	case uint64:
		kind, text = "integer", fmt.Sprint(v)
	case float64:
		kind, text = "double", fmt.Sprint(v)
	case bool:
		kind, text = "bool", map[bool]string{true: "True", false: "False"}[v]
	case string:
		kind, text = "string", escape(v)
	case []byte:
		kind, text = "bytes", base64.StdEncoding.EncodeToString(v)+"\r\n"
	case *vmconfig.Object:
		b := make([]byte, v.Size())
		if _, err := v.ReadAt(b, 0); err != nil && err != io.EOF {
			panic(err)
		}
		kind, text = "bytes", base64.StdEncoding.EncodeToString(b)+"\r\n"
	default:
		panic(fmt.Sprintf("vmconfigtest: value of type %T", n.Value))
	}
	fmt.Fprintf(s, "%s<%s type=%q>%s</%s>\r\n", indent, n.Name, kind, text, n.Name)
}

func escape(s string) string {
	var b bytes.Buffer
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		panic(err)
	}
	return b.String()
}
