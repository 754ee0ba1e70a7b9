package mount

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// tellSystemd tells that the mount can be used, or that it ends, where systemd
// has said that it listens.
func tellSystemd(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("mount: tell systemd: %w", err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(state + "\nMAINPID=" + strconv.Itoa(os.Getpid()) + "\n")); err != nil {
		return fmt.Errorf("mount: tell systemd: %w", err)
	}
	return nil
}
