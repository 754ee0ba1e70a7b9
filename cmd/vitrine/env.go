package main

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/term"
)

// env is what a command knows of the world: everything it reads and writes
// goes through here.
type env struct {
	in       io.Reader
	out, err io.Writer
	inTerm   bool // the stream is a terminal
	outTerm  bool
	errTerm  bool
	getenv   func(string) string
	now      func() time.Time
	// readPassword reads a line from the terminal without showing it.
	readPassword func() ([]byte, error)

	repo   repoFlags   // of every command
	warned atomic.Bool // a warning was printed: exit status 3
}

func systemEnv() *env {
	stdin := int(os.Stdin.Fd())
	return &env{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		inTerm:       term.IsTerminal(stdin),
		outTerm:      term.IsTerminal(int(os.Stdout.Fd())),
		errTerm:      term.IsTerminal(int(os.Stderr.Fd())),
		getenv:       os.Getenv,
		now:          time.Now,
		readPassword: func() ([]byte, error) { return term.ReadPassword(stdin) },
	}
}

// printf writes a result. A result that cannot be written is an error that
// the next write to the same stream meets too: commands check the last.
func (e *env) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(e.out, format, args...)
	return err
}

// warn writes a warning and remembers it for the exit status. It is safe for
// concurrent use.
func (e *env) warn(format string, args ...any) {
	e.warned.Store(true)
	e.say("warning: "+format, args...)
}

// noteWarnings remembers that n warnings were told in another way.
func (e *env) noteWarnings(n int) {
	if n > 0 {
		e.warned.Store(true)
	}
}

// say writes a line for people.
func (e *env) say(format string, args ...any) {
	fmt.Fprintf(e.err, "vitrine: "+format+"\n", args...)
}
