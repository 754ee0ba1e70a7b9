package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"vitrine/backup"
	"vitrine/repo"
)

// size gives bytes as people read them, in powers of 1,024.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1023.5 && unit < 5 {
		v /= 1024
		unit++
	}
	name := [...]string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}[unit]
	if v < 9.95 {
		return fmt.Sprintf("%.1f %s", v, name)
	}
	return fmt.Sprintf("%.0f %s", v, name)
}

// span gives a duration as people read it.
func span(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// table lines up rows below a header; cells of the columns in right end in
// line. Control characters of foreign names are shown as '?'.
func table(header []string, rows [][]string, right ...int) string {
	all := append([][]string{header}, rows...)
	width := make([]int, len(header))
	for _, row := range all {
		for i := range row {
			row[i] = oneLine(row[i])
			width[i] = max(width[i], utf8.RuneCountInString(row[i]))
		}
	}
	ends := make([]bool, len(header))
	for _, i := range right {
		ends[i] = true
	}
	var b strings.Builder
	for _, row := range all {
		var l strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if ends[i] {
				l.WriteString(pad + cell)
			} else {
				l.WriteString(cell + pad)
			}
			l.WriteString("  ")
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	return b.String()
}

// namer shows machines by their names, and by more where two share one.
type namer map[string]map[repo.MachineID]bool

func (n namer) add(name string, id repo.MachineID) {
	key := strings.ToLower(name)
	if n[key] == nil {
		n[key] = map[repo.MachineID]bool{}
	}
	n[key][id] = true
}

func (n namer) name(name string, id repo.MachineID) string {
	if len(n[strings.ToLower(name)]) > 1 {
		return backup.LongName(name, id)
	}
	return name
}

// printJSON writes v as one document.
func (e *env) printJSON(v any) error {
	enc := json.NewEncoder(e.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printJSONLine writes v as one line.
func (e *env) printJSONLine(v any) error {
	enc := json.NewEncoder(e.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// plural gives "1 disk" or "3 disks".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
