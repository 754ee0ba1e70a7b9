package main

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"vitrine/repo"
)

func testEnv() (*env, *bytes.Buffer, *bytes.Buffer) {
	var out, err bytes.Buffer
	return &env{
		in: strings.NewReader(""), out: &out, err: &err,
		getenv: func(string) string { return "" }, now: time.Now,
	}, &out, &err
}

func TestEveryCommandExplainsItselfByExample(t *testing.T) {
	e, _, _ := testEnv()
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Short == "" || !strings.Contains(c.Example, "vitrine") {
			t.Errorf("%s: short help %q, example %q", c.CommandPath(), c.Short, c.Example)
		}
		if strings.HasSuffix(c.Short, ".") || strings.ToLower(c.Short[:1]) != c.Short[:1] {
			t.Errorf("%s: %q has a capital or a full stop", c.CommandPath(), c.Short)
		}
		for _, line := range strings.Split(c.Example, "\n") {
			words := strings.Fields(line)
			found, _, err := c.Root().Find(words[1:])
			if err != nil || !c.HasSubCommands() && found != c {
				t.Errorf("%s: the example %q runs another command", c.CommandPath(), line)
			}
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	started := false
	visit(newRoot(e, &started))
}

func TestExitStatus(t *testing.T) {
	live := context.Background()
	ended, cancel := context.WithCancel(live)
	cancel()
	for _, c := range []struct {
		ctx    context.Context
		err    error
		warned bool
		want   int
	}{
		{live, nil, false, 0},
		{live, nil, true, 3},
		{live, errors.New("x"), true, 1},
		{live, errReported, false, 1},
		{live, &usageError{err: errors.New("x")}, false, 2},
		{live, &hinted{repo.ErrNoRepository, ""}, false, 10},
		{live, errors.Join(errReported, repo.ErrLocked), false, 11},
		{live, &hinted{repo.ErrWrongPassword, ""}, false, 12},
		{live, &statusError{12}, false, 12},
		{ended, context.Canceled, false, 130},
		{live, context.Canceled, false, 1},
	} {
		if got := exitStatus(c.ctx, c.err, c.warned); got != c.want {
			t.Errorf("exitStatus(%v, warned %v) = %d, want %d", c.err, c.warned, got, c.want)
		}
	}
}

func TestErrorsAreOneLineEachAndKeepTheirHints(t *testing.T) {
	e, out, stderr := testEnv()
	e.fail(errors.Join(&hinted{errors.New("first\nof \x1b[31mtwo\u202e"), "do\tthis"}, errors.New("second")))
	want := "vitrine: error: first; of ?[31mtwo?\nvitrine: hint: do?this\nvitrine: error: second\n"
	if got := stderr.String(); got != want || out.Len() > 0 {
		t.Errorf("printed %q, want %q", got, want)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 10188: "9.9 KiB", 10189: "10 KiB", 1<<20 - 1: "1.0 MiB",
		127 << 30: "127 GiB", 64 << 40: "64 TiB", 1<<63 - 1: "8.0 EiB",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestMountOptionsOfOthersAreTaken(t *testing.T) {
	var o mountOptions
	var f repoFlags
	list := `rw,noauto,nofail,x-systemd.automount,_netdev,allow_other,uid=1000,umask=027,sparse=no,vm=a\,b,password-file=/p,context="x"`
	if err := o.applyList(&f, list); err != nil {
		t.Fatal(err)
	}
	if !o.allowOther || *o.uid != 1000 || o.gid != nil || o.umask != 0o27 || !o.full || f.secret.passwordFile != "/p" {
		t.Errorf("options are %+v, %+v", o, f)
	}
	if !reflect.DeepEqual(o.machines, []string{"a,b"}) || !reflect.DeepEqual(o.forward, []string{`context="x"`}) {
		t.Errorf("machines %q, forwarded %q", o.machines, o.forward)
	}
	for _, bad := range []string{"uid=x", "umask=9", "gid=-1"} {
		if err := o.applyList(&f, bad); err == nil {
			t.Errorf("-o %s was taken", bad)
		}
	}
}

func TestTheMountHelpersArguments(t *testing.T) {
	e, _, _ := testEnv()
	started := false
	root := newRoot(e, &started)
	for in, want := range map[string]string{
		"/backups /mnt -o rw":    "mount --repo /backups --background -o rw -- /mnt",
		"mount /mnt -o rw":       "mount /mnt -o rw",
		"backup /vms -o nothing": "backup /vms -o nothing",
		"list":                   "list",
	} {
		if got := strings.Join(helperArgs(root, strings.Fields(in)), " "); got != want {
			t.Errorf("helperArgs(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestPlaces(t *testing.T) {
	for in, want := range map[string][2]string{
		"SQL01:/config/a":                  {"SQL01", "config/a"},
		"SQL01@2026-11-22T22:00:05Z:/x":    {"SQL01@2026-11-22T22:00:05Z", "x"},
		"SQL01:":                           {"SQL01", ""},
		"SQL01:/":                          {"SQL01", ""},
		"SQL01:/a:/b":                      {"SQL01", "a:/b"},
		"SQL01@2026-11-22T22:00:05Z:/dir/": {"SQL01@2026-11-22T22:00:05Z", "dir"},
	} {
		point, path, ok := splitPlace(in)
		if !ok || point != want[0] || path != want[1] {
			t.Errorf("splitPlace(%q) = %q, %q, %v", in, point, path, ok)
		}
	}
	if _, _, ok := splitPlace("SQL01@2026-11-22T22:00:05Z"); ok {
		t.Error("a point was taken for a place")
	}
}
