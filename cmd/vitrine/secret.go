package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"

	"vitrine/repo"
)

// secretFlags name where a secret is found; none is a flag's value itself.
type secretFlags struct {
	passwordFile    string
	passwordCommand string
	keyFile         string
	recoveryKeyFile string

	used usedSecret // what read gave last
}

// usedSecret is a secret on its way to the process that serves a mount in the
// background: through a pipe, never through arguments or the environment.
type usedSecret struct {
	Kind  repo.SecretKind
	Bytes []byte
}

// maxSecret is the longest password or key file.
const maxSecret = 1 << 20

// given tells whether the command line says how to open the repository.
func (f *secretFlags) given() bool {
	return f.passwordFile != "" || f.passwordCommand != "" || f.keyFile != "" || f.recoveryKeyFile != ""
}

// read gets the secret that opens the repository: from the one flag given,
// else from VITRINE_PASSWORD, else from the terminal.
func (f *secretFlags) read(ctx context.Context, e *env) (repo.Secret, error) {
	var err error
	if e.getenv(childEnv) != "" {
		err = json.NewDecoder(io.LimitReader(e.in, 2*maxSecret)).Decode(&f.used)
	} else {
		f.used, err = f.find(ctx, e, "password: ")
	}
	if err != nil {
		return repo.Secret{}, err
	}
	return f.used.secret()
}

func (f *secretFlags) find(ctx context.Context, e *env, prompt string) (usedSecret, error) {
	s, ok, err := f.fromFlags(ctx, e)
	if ok || err != nil {
		return s, err
	}
	if p := e.getenv("VITRINE_PASSWORD"); p != "" {
		return usedSecret{repo.Password, []byte(p)}, nil
	}
	b, err := e.ask(prompt)
	return usedSecret{repo.Password, b}, err
}

func (u usedSecret) secret() (repo.Secret, error) {
	if u.Kind == repo.RecoveryKey {
		return repo.ParseRecoveryKey(string(u.Bytes))
	}
	return repo.NewSecret(u.Kind, u.Bytes), nil
}

// readNew is read for a secret to be: on the terminal it is asked for twice.
func (f *secretFlags) readNew(ctx context.Context, e *env, fallback string) (repo.Secret, error) {
	s, ok, err := f.fromFlags(ctx, e)
	if err != nil {
		return repo.Secret{}, err
	}
	if ok {
		return s.secret()
	}
	if fallback != "" {
		return repo.NewSecret(repo.Password, []byte(fallback)), nil
	}
	b, err := e.ask("new password: ")
	if err != nil {
		return repo.Secret{}, err
	}
	again, err := e.ask("new password again: ")
	if err != nil {
		return repo.Secret{}, err
	}
	if !bytes.Equal(b, again) {
		return repo.Secret{}, errors.New("the two passwords differ")
	}
	return repo.NewSecret(repo.Password, b), nil
}

func (f *secretFlags) fromFlags(ctx context.Context, e *env) (usedSecret, bool, error) {
	given := 0
	for _, v := range []string{f.passwordFile, f.passwordCommand, f.keyFile, f.recoveryKeyFile} {
		if v != "" {
			given++
		}
	}
	if given > 1 {
		return usedSecret{}, false, &usageError{errors.New("more than one secret was named"), "give one of --password-file, --password-command, --key-file, --recovery-key-file"}
	}
	switch {
	case f.passwordFile != "":
		b, err := readSecretFile(f.passwordFile)
		return usedSecret{repo.Password, line(b)}, true, err
	case f.passwordCommand != "":
		b, err := commandOutput(ctx, e, f.passwordCommand)
		return usedSecret{repo.Password, line(b)}, true, err
	case f.keyFile != "":
		b, err := readSecretFile(f.keyFile)
		return usedSecret{repo.KeyFile, b}, true, err
	case f.recoveryKeyFile != "":
		b, err := readSecretFile(f.recoveryKeyFile)
		return usedSecret{repo.RecoveryKey, b}, true, err
	}
	return usedSecret{}, false, nil
}

// ask reads a line from the terminal.
func (e *env) ask(prompt string) ([]byte, error) {
	if !e.inTerm {
		return nil, &hinted{errors.New("a password is needed and there is no terminal to ask on"), "use --password-file, --password-command or VITRINE_PASSWORD"}
	}
	fmt.Fprint(e.err, prompt)
	b, err := e.readPassword()
	fmt.Fprintln(e.err)
	if err != nil {
		return nil, fmt.Errorf("read the password: %w", err)
	}
	if len(b) == 0 {
		return nil, errors.New("the password is empty")
	}
	return b, nil
}

func readSecretFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(b) > maxSecret {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, maxSecret)
	}
	if len(line(b)) == 0 {
		return nil, fmt.Errorf("%s is empty", name)
	}
	return b, nil
}

func commandOutput(ctx context.Context, e *env, command string) ([]byte, error) {
	shell, flag := "sh", "-c"
	if runtime.GOOS == "windows" {
		shell, flag = "cmd", "/C"
	}
	c := exec.CommandContext(ctx, shell, flag, command)
	c.Stdin, c.Stderr = e.in, e.err
	b, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("the password command: %w", err)
	}
	if len(line(b)) == 0 {
		return nil, errors.New("the password command printed nothing")
	}
	return b, nil
}

// line is b without the end of its last line.
func line(b []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
}
