package repo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// Options of an opened repository; the zero value but for Unlock is right.
type Options struct {
	// Unlock gives the secret that opens a key slot. It is called once, and
	// not at all for a repository without encryption.
	Unlock func(ctx context.Context) (Secret, error)

	CacheDir  string           // where writers keep the index cache; "" is the user's cache folder
	Cache     int64            // bytes of decoded chunks kept by readers; 0 is 64 MiB
	Workers   int              // goroutines that compress or decode; 0 is one per processor
	Clock     func() time.Time // nil is time.Now
	Rand      io.Reader        // nil is crypto/rand
	Host      string           // written into leases; "" is os.Hostname
	OnRecover func(string)     // told when a second copy had to stand in; nil is silent
}

// InitOptions of a new repository.
type InitOptions struct {
	Options
	NoEncryption bool
	Label        string // of the first key slot
	Like         *Repo  // copy the cut seed and the chunk-hash key, so that chunks can be exchanged
	Compression  Compression
	KDF          KDF // cost of the first key slot; zero is the default
}

// Errors that a caller tells apart.
var (
	ErrNoRepository  = errors.New("no repository here")
	ErrWrongPassword = errors.New("no key slot opens with this secret")
	ErrLocked        = errors.New("the lease of this writer was revoked")
)

// Repo is an opened repository. It is safe for concurrent use.
type Repo struct {
	store   Store
	keys    keyring
	epoch   uint32
	config  config
	clock   func() time.Time
	rand    io.Reader
	opts    Options
	hashers hashers
	codecs  *codecs
	reader  *reader

	packSize int // bytes of slots that a pack is filled with; tests make it small
}

// config is the open part of the config object.
type config struct {
	Format      int         `json:"vitrine"`
	ID          ID          `json:"id"`
	Created     time.Time   `json:"created"`
	Cipher      string      `json:"cipher"`
	Compression Compression `json:"compression"`
}

// configSecrets is its sealed part. Neither is ever rotated, or every chunk
// would be stored again.
type configSecrets struct {
	Seed     uint64 `json:"seed"`
	ChunkKey Hash   `json:"chunkKey"`
}

const (
	configName = "config"
	nameGCM    = "aes-256-gcm"
	nameNone   = "none"
)

func newRepo(s Store, o Options) *Repo {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Cache == 0 {
		o.Cache = 64 << 20
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Host == "" {
		if h, err := os.Hostname(); err == nil {
			o.Host = h
		}
	}
	if o.OnRecover == nil {
		o.OnRecover = func(string) {}
	}
	return &Repo{store: s, clock: o.Clock, rand: o.Rand, opts: o, packSize: maxPack}
}

// start makes what depends on the keys.
func (r *Repo) start() error {
	var err error
	if r.codecs, err = newCodecs(r.config.Compression, r.opts.Workers); err != nil {
		return err
	}
	r.hashers.start(r.keys.chunkKey)
	r.reader = newReader(r, r.opts.Cache, r.opts.Workers)
	return nil
}

// Init makes a repository in an empty store and returns its recovery key,
// which is shown once and kept nowhere ("" without encryption).
func Init(ctx context.Context, s Store, o InitOptions) (*Repo, string, error) {
	if err := clearInit(ctx, s); err != nil {
		return nil, "", err
	}
	r := newRepo(s, o.Options)
	if o.Compression == "" {
		o.Compression = CompressFastest
	}
	r.config = config{Format: formatVersion, Created: r.clock().UTC().Truncate(time.Second), Cipher: nameGCM, Compression: o.Compression}
	var random [16 + 8 + 32 + 32 + 16]byte
	if _, err := io.ReadFull(r.rand, random[:]); err != nil {
		return nil, "", fmt.Errorf("repo: random bytes: %w", err)
	}
	copy(r.config.ID[:], random[:16])
	secrets := configSecrets{Seed: binary.LittleEndian.Uint64(random[16:24]), ChunkKey: Hash(random[24:56])}
	if o.Like != nil {
		secrets = configSecrets{Seed: o.Like.keys.seed, ChunkKey: o.Like.keys.chunkKey}
	}
	master := random[56:88]
	r.keys = keyring{repo: r.config.ID, cipher: cipherGCM, master: master}
	recovery := ""
	if o.NoEncryption {
		r.config.Cipher = nameNone
		r.keys.cipher, r.keys.master = cipherNone, openMaster(r.config.ID)
	} else {
		var err error
		if recovery, err = r.initKeys(ctx, o, random[88:104]); err != nil {
			return nil, "", err
		}
	}
	r.keys.seed, r.keys.chunkKey = secrets.Seed, secrets.ChunkKey
	if err := r.writeConfig(ctx, secrets); err != nil {
		return nil, "", err
	}
	return r, recovery, r.start()
}

// clearInit makes sure that the store is empty. Key slots alone, which open
// nothing, are what an init leaves that died before it wrote config: they go.
func clearInit(ctx context.Context, s Store) error {
	var left []string
	for info, err := range s.List(ctx, "") {
		switch name := strings.TrimPrefix(info.Name, "copies/"); {
		case err != nil:
			return fmt.Errorf("repo: list: %w", err)
		case name == configName:
			return errors.New("repo: there is a repository here already")
		case !strings.HasPrefix(name, "keys/"):
			return fmt.Errorf("repo: the place is not empty: it has %s", info.Name)
		}
		left = append(left, info.Name)
	}
	for _, name := range left {
		if err := s.Delete(ctx, name); err != nil {
			return fmt.Errorf("repo: delete %s: %w", name, err)
		}
	}
	return nil
}

// initKeys makes the first key slot and the recovery slot.
func (r *Repo) initKeys(ctx context.Context, o InitOptions, id []byte) (string, error) {
	if o.Unlock == nil {
		return "", errors.New("repo: a new repository needs a password or NoEncryption")
	}
	secret, err := o.Unlock(ctx)
	if err != nil {
		return "", err
	}
	if len(secret.bytes) == 0 {
		return "", errors.New("repo: the password is empty")
	}
	slot := KeySlot{ID: ID(id), Kind: secret.Kind, Label: o.Label, Created: r.config.Created, KDF: o.KDF.orDefault()}
	b, err := sealKey(r.rand, r.keys.repo, slot, secret, r.keys.master)
	if err != nil {
		return "", err
	}
	if err := putTwice(ctx, r.store, keyName(slot.ID), b); err != nil {
		return "", err
	}
	recovery, text, err := NewRecoveryKey(r.rand)
	if err != nil {
		return "", err
	}
	// 160 random bits need no stretching: a small cost keeps recovery quick.
	_, err = r.AddKey(ctx, recovery, "recovery", KDF{Time: 1, Memory: 8 << 10, Threads: 1})
	return text, err
}

func (r *Repo) writeConfig(ctx context.Context, secrets configSecrets) error {
	clear, err := json.Marshal(r.config)
	if err != nil {
		return err
	}
	payload, err := json.Marshal(secrets)
	if err != nil {
		return err
	}
	b, err := r.putObjectUnder(ctx, configName, clear, payload)
	if err != nil {
		return err
	}
	return putBack(ctx, r.store, configName, b)
}

// putObjectUnder stores the second copy of config first: the repository
// exists once config does.
func (r *Repo) putObjectUnder(ctx context.Context, name string, clear, payload []byte) ([]byte, error) {
	h := objectHead{Type: typeConfig, Cipher: r.keys.cipher}
	if _, err := io.ReadFull(r.rand, h.Salt[:]); err != nil {
		return nil, fmt.Errorf("repo: random bytes: %w", err)
	}
	a, err := r.keys.aead(purposeOf(typeConfig, 0), h.Salt[:])
	if err != nil {
		return nil, err
	}
	b := sealObject(a, r.keys.repo, name, h, clear, payload, false)
	return b, putBack(ctx, r.store, copyName(name), b)
}

// openMaster is the master key of a repository without encryption.
func openMaster(id ID) []byte {
	m := make([]byte, 32)
	copy(m, id[:])
	copy(m[16:], "no encryption")
	return m
}

// Open opens the repository in s: ErrNoRepository, ErrWrongPassword. Where one
// copy of its config is damaged the other stands in.
func Open(ctx context.Context, s Store, o Options) (*Repo, error) {
	r := newRepo(s, o)
	var secret *Secret
	b, first := readObject(ctx, s, configName)
	if first == nil {
		first = r.openWith(ctx, b, &secret)
	}
	if first == nil {
		return r, r.start()
	}
	again, err := readObject(ctx, s, copyName(configName))
	if isNotExist(first) && isNotExist(err) {
		return nil, fmt.Errorf("repo: open: %w", ErrNoRepository)
	}
	if err != nil || bytes.Equal(b, again) {
		return nil, first
	}
	var future *FormatError
	if errors.As(first, &future) && differing(b, again) > 1 {
		return nil, first // not one flipped bit: a newer program wrote it
	}
	if err := r.openWith(ctx, again, &secret); err != nil {
		if isNotExist(first) {
			return nil, err
		}
		return nil, first
	}
	r.opts.OnRecover("config is damaged or missing; its second copy was used")
	return r, r.start()
}

// differing counts the bytes in which a and b differ.
func differing(a, b []byte) int {
	n := max(len(a), len(b)) - min(len(a), len(b))
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

// openWith opens the repository by one copy of its config. The secret is asked
// for once.
func (r *Repo) openWith(ctx context.Context, b []byte, secret **Secret) error {
	var err error
	if r.config, err = parseConfig(b); err != nil {
		var future *FormatError
		if errors.As(err, &future) {
			return fmt.Errorf("repo: open: %w", err)
		}
		return corrupt(configName, err)
	}
	r.keys = keyring{repo: r.config.ID, cipher: cipherNone, master: openMaster(r.config.ID)}
	if r.config.Cipher == nameGCM {
		if r.opts.Unlock == nil {
			return fmt.Errorf("repo: the repository is encrypted: %w", ErrWrongPassword)
		}
		if *secret == nil {
			given, err := r.opts.Unlock(ctx)
			if err != nil {
				return err
			}
			*secret = &given
		}
		r.keys.cipher = cipherGCM
		if r.keys.master, err = unlock(ctx, r.store, r.config.ID, **secret, r.opts.OnRecover); err != nil {
			return fmt.Errorf("repo: open: %w", err)
		}
	}
	secrets, err := r.openSecrets(b)
	if err != nil {
		return err
	}
	r.keys.seed, r.keys.chunkKey = secrets.Seed, secrets.ChunkKey
	return nil
}

func parseConfig(b []byte) (config, error) {
	var h objectHead
	var c config
	if err := h.unmarshal(b); err != nil {
		return c, err
	}
	if h.Type != typeConfig {
		return c, errors.New("not a config object")
	}
	if err := json.Unmarshal(b[objectHeadSize:objectHeadSize+int(h.Clear)], &c); err != nil {
		return c, err
	}
	if c.Format != formatVersion {
		return c, &FormatError{Version: c.Format}
	}
	if c.Cipher != nameGCM && c.Cipher != nameNone {
		return c, fmt.Errorf("unknown cipher %q", c.Cipher)
	}
	return c, nil
}

func (r *Repo) openSecrets(b []byte) (configSecrets, error) {
	var s configSecrets
	_, payload, err := r.decodeObject(typeConfig, configName, b)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(payload, &s); err != nil {
		return s, corrupt(configName, err)
	}
	return s, nil
}

// Close ends what the repository runs in the background.
func (r *Repo) Close() error {
	r.reader.close()
	return nil
}

// ID is the repository's id.
func (r *Repo) ID() ID { return r.config.ID }

// Encrypted reports whether the repository is sealed against strangers.
func (r *Repo) Encrypted() bool { return r.keys.cipher != cipherNone }

// Created is when the repository was made.
func (r *Repo) Created() time.Time { return r.config.Created }
