package main

import (
	"fmt"
	"strings"

	"vitrine/backup"
	"vitrine/backup/folder"
)

// openSource gives the host that a SOURCE means.
func openSource(source string) (backup.Host, error) {
	for prefix, what := range map[string]string{
		"hyperv:":       "a live Hyper-V host",
		"hyperv+winrm:": "a live Hyper-V host",
		"machine:":      "the machine that vitrine runs on",
	} {
		if strings.HasPrefix(source, prefix) {
			return nil, &hinted{
				fmt.Errorf("%q: backing up %s is not supported yet", source, what),
				"export the machine and back up the folder of the export",
			}
		}
	}
	return folder.Open(source)
}
