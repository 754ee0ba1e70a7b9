//go:build !linux

package main

import (
	"context"
	"errors"
)

const childEnv = "VITRINE_MOUNT_CHILD"

func mountInBackground(context.Context, *env) error {
	return &hinted{errors.New("--background is supported on Linux only"), "start the command without it from a service or a scheduled task"}
}

func detach() error { return nil }
