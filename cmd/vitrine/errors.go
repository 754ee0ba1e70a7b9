package main

import (
	"context"
	"errors"
	"strings"
	"unicode"

	"vitrine/repo"
)

// The exit statuses.
const (
	exitDone         = 0
	exitError        = 1
	exitUsage        = 2
	exitWarnings     = 3
	exitNoRepository = 10
	exitLocked       = 11
	exitPassword     = 12
	exitInterrupted  = 130
)

// usageError is a command line that means nothing.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }
func (e *usageError) Hint() string  { return e.hint }

// hinted is an error with a hint.
type hinted struct {
	error
	hint string
}

func (e *hinted) Unwrap() error { return e.error }
func (e *hinted) Hint() string  { return e.hint }

// errReported is returned by a command that has printed its errors itself.
var errReported = errors.New("reported")

// statusError is errReported with the status of a process that reported.
type statusError struct{ status int }

func (e *statusError) Error() string        { return errReported.Error() }
func (e *statusError) Is(target error) bool { return target == errReported }

func exitStatus(ctx context.Context, err error, warned bool) int {
	var usage *usageError
	var child *statusError
	switch {
	case errors.As(err, &child):
		return child.status
	case err == nil && warned:
		return exitWarnings
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return exitInterrupted
	case errors.Is(err, repo.ErrNoRepository):
		return exitNoRepository
	case errors.Is(err, repo.ErrLocked):
		return exitLocked
	case errors.Is(err, repo.ErrWrongPassword):
		return exitPassword
	}
	return exitError
}

// fail prints an error and its hint. What was joined is printed one by one.
func (e *env) fail(err error) {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range many.Unwrap() {
			e.fail(one)
		}
		return
	}
	e.say("error: %s", oneLine(err.Error()))
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		e.say("hint: %s", oneLine(h.Hint()))
	}
}

// oneLine keeps what others wrote into an error from looking like ours.
func oneLine(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return '?'
		}
		return r
	}, s)
}
