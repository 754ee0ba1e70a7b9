package repo

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Options of an opened repository; the zero value but for Unlock is right.
type Options struct {
	// Unlock gives the secret that opens a key slot. It is called once, and
	// not at all for a repository without encryption.
	Unlock func(ctx context.Context) (Secret, error)

	CacheDir  string           // where writers keep the index cache; "" is the user's cache folder
	Cache     int64            // bytes of decoded chunks kept by readers; 0 is 256 MiB
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
}

// Compression is how chunks are compressed.
type Compression string

// The levels, fastest first. Fastest is the default.
const (
	CompressNone    Compression = "none"
	CompressS2      Compression = "s2"
	CompressFastest Compression = "fastest"
	CompressDefault Compression = "default"
	CompressBetter  Compression = "better"
)

// Errors that a caller tells apart.
var (
	ErrNoRepository  = errors.New("no repository here")
	ErrWrongPassword = errors.New("no key slot opens with this secret")
	ErrLocked        = errors.New("the lease of this writer was revoked")
	errNotYet        = errors.New("repo: not built yet")
)

// Repo is an opened repository. It is safe for concurrent use.
type Repo struct{}

// Init makes a repository in an empty store and returns its recovery key,
// which is shown once and kept nowhere ("" without encryption).
func Init(ctx context.Context, s Store, o InitOptions) (*Repo, string, error) {
	return nil, "", errNotYet
}

// Open opens the repository in s: ErrNoRepository, ErrWrongPassword.
func Open(ctx context.Context, s Store, o Options) (*Repo, error) { return nil, errNotYet }

// Close ends what the repository runs in the background.
func (r *Repo) Close() error { return nil }

// ID is the repository's id.
func (r *Repo) ID() ID { return ID{} }

// PointInfo is what the listing tells of a restore point without opening it.
type PointInfo struct {
	Machine MachineID
	Time    time.Time
	ID      PointID
	Object  string // its name in the store
	Size    int64
}

// Points lists the restore points by machine, then time, without opening
// them. A point that cannot be opened later is listed all the same.
func (r *Repo) Points(ctx context.Context) iter.Seq2[PointInfo, error] {
	return func(yield func(PointInfo, error) bool) { yield(PointInfo{}, errNotYet) }
}

// OpenPoint reads one restore point.
func (r *Repo) OpenPoint(ctx context.Context, p PointInfo) (*RestorePoint, error) {
	return nil, errNotYet
}
