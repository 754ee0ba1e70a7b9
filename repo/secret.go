package repo

// Secret is a password, the content of a key file or a recovery key. It never
// prints itself.
type Secret struct {
	Kind  SecretKind
	bytes []byte
}

// SecretKind says which key slots a secret may open.
type SecretKind string

// The kinds of secrets.
const (
	Password    SecretKind = "password"
	KeyFile     SecretKind = "keyfile"
	RecoveryKey SecretKind = "recovery"
)

// NewSecret keeps a copy of b.
func NewSecret(kind SecretKind, b []byte) Secret {
	return Secret{Kind: kind, bytes: append([]byte(nil), b...)}
}

func (s Secret) String() string               { return "[redacted]" }
func (s Secret) GoString() string             { return "[redacted]" }
func (s Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }
