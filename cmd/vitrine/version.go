package main

import (
	"runtime"

	"github.com/spf13/cobra"
)

// version is what restore points say made them.
const version = "0.1.0"

func newVersion(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "print the version",
		Example: "  vitrine version",
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			return e.printf("vitrine %s (%s %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	}
}
