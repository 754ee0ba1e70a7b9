// Command count reads what go test -json writes, prints it as go test would
// have, adds which tests were skipped and why, and ends with the number of
// tests. Its exit status is 1 where something failed.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is a line of go test -json (go doc test2json) or of a build.
type event struct {
	Action, Package, Test, Output string
}

func main() {
	failed, err := count(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "count:", err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

func count(r io.Reader, w io.Writer) (failed bool, err error) {
	tests := map[string]int{} // by how they ended
	output := map[string]string{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(w, lines.Text())
			continue
		}
		failed = failed || e.Action == "fail" || e.Action == "build-fail"
		if e.Test == "" {
			if e.Output != "PASS\n" && !strings.Contains(e.Output, "[no test files]") {
				fmt.Fprint(w, e.Output)
			}
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output":
			output[key] += e.Output
			continue
		case "fail":
			fmt.Fprint(w, output[key])
		case "skip":
			fmt.Fprintf(w, "skip\t%s: %s\n", key, reason(output[key]))
		case "pass":
		default:
			continue
		}
		tests[e.Action]++
		delete(output, key)
	}
	// What has not ended was cut off by a panic or a time limit.
	for _, cut := range output {
		fmt.Fprint(w, cut)
	}
	fmt.Fprintf(w, "%d passed, %d skipped, %d failed\n", tests["pass"], tests["skip"], tests["fail"])
	return failed, lines.Err()
}

// reason is what a skipped test says of itself.
func reason(output string) string {
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		if _, text, ok := strings.Cut(line, ".go:"); ok {
			_, text, _ = strings.Cut(text, ": ")
			return text
		}
		return line
	}
	return "no reason given"
}
