package main

import (
	"errors"
	"os"
	"os/exec"
)

// mountFindings looks for what the FUSE mount needs.
func mountFindings() []finding {
	device := finding{what: "fuse", text: "/dev/fuse"}
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		device.err = err
		device.fix = "load the module: modprobe fuse; in a container, pass the device in"
	} else {
		device.err = f.Close()
	}
	helper := finding{what: "fusermount3"}
	if p, err := exec.LookPath("fusermount3"); err == nil {
		helper.text = p
	} else if os.Geteuid() == 0 {
		helper.text = "not found; root does not need it"
	} else {
		helper.err = errors.New("not found")
		helper.fix = "install the package fuse3"
	}
	return []finding{device, helper}
}
