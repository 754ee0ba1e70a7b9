package lvm

import (
	"fmt"
	"strconv"
	"strings"
)

// LVM2 describes a group in text: sections in braces, keys with a number, a
// string or a list of them, comments from # to the end of the line.

const (
	maxText  = 4 << 20
	maxDepth = 16
	maxNodes = 400_000
)

// node is a section, a key with its values, or a value.
type node struct {
	name    string
	text    string // of a string
	number  int64  // of a number
	quoted  bool   // a string
	section bool
	list    []node // children of a section; values of a key
}

// get returns the child of that name; nil when there is none.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for i := range n.list {
		if n.list[i].name == name {
			return &n.list[i]
		}
	}
	return nil
}

// str returns the string of key name, "" when there is none.
func (n *node) str(name string) string {
	if k := n.get(name); k != nil && !k.section && len(k.list) == 1 {
		return k.list[0].text
	}
	return ""
}

// num returns the number of key name; ok is false when there is none.
func (n *node) num(name string) (v int64, ok bool) {
	if k := n.get(name); k != nil && !k.section && len(k.list) == 1 && !k.list[0].quoted {
		return k.list[0].number, true
	}
	return 0, false
}

// within returns the number of key name, which must lie in [low,high].
func (n *node) within(name string, low, high int64) (int64, error) {
	v, ok := n.num(name)
	if !ok {
		return 0, damage("section %.64q: no number %s", n.name, name)
	}
	if v < low || v > high {
		return 0, damage("section %.64q: %s is %d", n.name, name, v)
	}
	return v, nil
}

// values returns the list of key name.
func (n *node) values(name string) []node {
	if k := n.get(name); k != nil && !k.section {
		return k.list
	}
	return nil
}

// has reports whether the list of key name holds the string s.
func (n *node) has(name, s string) bool {
	for _, v := range n.values(name) {
		if v.text == s {
			return true
		}
	}
	return false
}

type parser struct {
	s     string
	at    int
	nodes int
}

// parse reads a whole text and returns its top as a section.
func parse(s string) (*node, error) {
	if len(s) > maxText {
		return nil, damage("metadata: %d bytes of text", len(s))
	}
	p := &parser{s: strings.TrimRight(s, "\x00")}
	top := &node{section: true}
	var err error
	top.list, err = p.items(0)
	return top, err
}

func (p *parser) fail(what string) error {
	return damage("metadata: line %d: %s", 1+strings.Count(p.s[:min(p.at, len(p.s))], "\n"), what)
}

// skip passes blanks and comments.
func (p *parser) skip() {
	for p.at < len(p.s) {
		switch c := p.s[p.at]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			p.at++
		case c == '#':
			if n := strings.IndexByte(p.s[p.at:], '\n'); n >= 0 {
				p.at += n + 1
			} else {
				p.at = len(p.s)
			}
		default:
			return
		}
	}
}

func (p *parser) peek() byte {
	p.skip()
	if p.at == len(p.s) {
		return 0
	}
	return p.s[p.at]
}

func (p *parser) count() error {
	if p.nodes++; p.nodes > maxNodes {
		return p.fail(fmt.Sprintf("more than %d entries", maxNodes))
	}
	return nil
}

// items reads the content of a section up to its closing brace, or of the text.
func (p *parser) items(depth int) ([]node, error) {
	if depth > maxDepth {
		return nil, p.fail("sections too deep")
	}
	var list []node
	for {
		switch c := p.peek(); {
		case c == 0 && depth == 0 && p.at == len(p.s):
			return list, nil
		case c == '}' && depth > 0:
			p.at++
			return list, nil
		case c == 0:
			return nil, p.fail("a section does not end")
		}
		n := node{name: p.word()}
		if n.name == "" {
			return nil, p.fail("no name")
		}
		if err := p.count(); err != nil {
			return nil, err
		}
		var err error
		switch p.peek() {
		case '{':
			p.at++
			n.section = true
			n.list, err = p.items(depth + 1)
		case '=':
			p.at++
			n.list, err = p.value()
		default:
			err = p.fail("neither section nor key")
		}
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
}

// word reads a name or a number.
func (p *parser) word() string {
	start := p.at
	for p.at < len(p.s) && !strings.ContainsRune(" \t\r\n{}[]=,#\"\x00", rune(p.s[p.at])) {
		p.at++
	}
	return p.s[start:p.at]
}

// value reads what follows a key's equals sign.
func (p *parser) value() ([]node, error) {
	if p.peek() != '[' {
		v, err := p.scalar()
		return []node{v}, err
	}
	p.at++
	var list []node
	for p.peek() != ']' {
		v, err := p.scalar()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		if p.peek() == ',' {
			p.at++
		} else if p.peek() != ']' {
			return nil, p.fail("a list does not end")
		}
	}
	p.at++
	return list, nil
}

func (p *parser) scalar() (node, error) {
	if err := p.count(); err != nil {
		return node{}, err
	}
	if p.peek() == '"' {
		return p.quoted()
	}
	w := p.word()
	v, err := strconv.ParseInt(w, 10, 64)
	if err != nil {
		if _, err := strconv.ParseFloat(w, 64); err != nil {
			return node{}, p.fail(fmt.Sprintf("%.64q is not a number", w))
		}
	}
	return node{number: v}, nil
}

// quoted reads a string, in which \ makes the next character plain.
func (p *parser) quoted() (node, error) {
	p.at++
	start, escaped := p.at, false
	for ; p.at < len(p.s); p.at++ {
		switch p.s[p.at] {
		case '\\':
			escaped = true
			p.at++
		case '"':
			text := p.s[start:p.at]
			p.at++
			if escaped {
				text = unescape(text)
			}
			return node{text: text, quoted: true}, nil
		}
	}
	p.at = len(p.s)
	return node{}, p.fail("a string does not end")
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
