// Command vitrine backs up Hyper-V machines into a deduplicated repository and
// mounts every restore point as ready VHDX files.
//
// How it speaks, whatever the command:
//
//   - Results go to stdout; errors, warnings, questions and progress to stderr.
//   - Nothing went wrong and nothing was asked for: nothing is printed.
//   - An error is one line, "vitrine: error: …", with what to do about it, if
//     anything can be done, in a second, "vitrine: hint: …". A warning is
//     "vitrine: warning: …" and makes the exit status 3.
//   - Lower case, no full stop, no stack traces, no colours.
//   - --json makes stdout one JSON document, or lines of them.
//   - Progress only where stderr is a terminal.
//   - Secrets are never flag values and never printed; the recovery key is
//     printed once, when it is made.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

func main() {
	// Most of the memory is a few large buffers that are used again and again;
	// waiting for the heap to double would only keep garbage.
	debug.SetGCPercent(25)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends at once
	os.Exit(execute(ctx, systemEnv(), os.Args[1:]))
}
