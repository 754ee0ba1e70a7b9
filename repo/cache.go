package repo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bberrors "go.etcd.io/bbolt/errors"
)

// index finds chunks by hash. It is a cache for writers: a bbolt file in the
// user's cache folder, brought up to date from the store at the start, and
// what this process has added since. A second writer on the same machine
// works on a file of its own.
type index struct {
	r       *Repo
	db      *bbolt.DB
	path    string
	private bool
	broken  atomic.Bool // something in the file could not be read or written

	mu    sync.RWMutex
	ids   []PackID          // by number
	sizes []int64           // by number: of the whole pack
	nums  map[PackID]uint32 // numbers of packs
	live  []bool            // by number: whole in the store and not condemned
	fresh map[Hash]Address  // not in the file yet
}

var (
	bucketMeta    = []byte("meta")
	bucketObjects = []byte("objects")
	bucketPacks   = []byte("packs")
	bucketChunks  = []byte("chunks")
	keyIdentity   = []byte("identity")
	keyState      = []byte("state")
	stateClean    = []byte("clean")
	stateDirty    = []byte("dirty")
)

// openIndex opens the cache and brings it up to date.
func (r *Repo) openIndex(ctx context.Context) (*index, error) {
	for again := false; ; again = true {
		x := &index{r: r, nums: map[PackID]uint32{}, fresh: map[Hash]Address{}}
		if err := x.openFile(); err != nil {
			return nil, err
		}
		err := x.update(ctx)
		if err == nil {
			return x, nil
		}
		err = errors.Join(err, x.close(false))
		if again || !errors.Is(err, errBroken) {
			return nil, err
		}
	}
}

// openFile opens the shared file, or a private one when another writer has it.
// A file that is dirty, foreign or broken is thrown away.
func (x *index) openFile() error {
	dir := x.r.opts.CacheDir
	if dir == "" {
		if d, err := os.UserCacheDir(); err == nil {
			dir = filepath.Join(d, "vitrine")
		}
	}
	if dir != "" {
		dir = filepath.Join(dir, x.r.config.ID.String())
		if err := os.MkdirAll(dir, 0o700); err != nil {
			dir = ""
		}
	}
	if dir != "" {
		path := filepath.Join(dir, "index.db")
		for range 2 {
			err := x.tryFile(path)
			if err == nil {
				return nil
			}
			if errors.Is(err, bberrors.ErrTimeout) {
				break
			}
			if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
				break
			}
		}
	}
	tmp, err := os.MkdirTemp("", "vitrine-index-")
	if err != nil {
		return fmt.Errorf("repo: index cache: %w", err)
	}
	x.private = true
	if err := x.tryFile(filepath.Join(tmp, "index.db")); err != nil {
		return errors.Join(fmt.Errorf("repo: index cache: %w", err), os.RemoveAll(tmp))
	}
	return nil
}

var (
	errDirty  = errors.New("the cache was left dirty or belongs to another repository")
	errBroken = errors.New("the cache file is broken")
)

// guard calls bbolt, which panics on a file that is broken inside, and faults
// on one that is cut short. Such a file stays dirty: the next writer throws it
// away.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errBroken, p)
		}
	}()
	return f()
}

func (x *index) readFile(f func(*bbolt.Tx) error) error {
	err := guard(func() error { return x.db.View(f) })
	x.broken.CompareAndSwap(false, err != nil)
	return err
}

func (x *index) writeFile(f func(*bbolt.Tx) error) error {
	err := guard(func() error { return x.db.Update(f) })
	x.broken.CompareAndSwap(false, err != nil)
	return err
}

// tryFile opens one file, checks whose it is, and marks it dirty.
func (x *index) tryFile(path string) error {
	// The list of free pages is kept in the file: to find them without it, all
	// of the file would be read at every start.
	err := guard(func() (err error) {
		x.db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
		return err
	})
	if err != nil {
		return err
	}
	identity := []byte(fmt.Sprintf("vitrine index 1 %s", x.r.config.ID))
	err = x.writeFile(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			for _, name := range [][]byte{bucketMeta, bucketObjects, bucketPacks, bucketChunks} {
				if _, err := tx.CreateBucket(name); err != nil {
					return err
				}
			}
			meta = tx.Bucket(bucketMeta)
		} else if string(meta.Get(keyIdentity)) != string(identity) || string(meta.Get(keyState)) != string(stateClean) {
			return errDirty
		}
		if err := meta.Put(keyIdentity, identity); err != nil {
			return err
		}
		return meta.Put(keyState, stateDirty)
	})
	if err != nil {
		return errors.Join(err, guard(x.db.Close))
	}
	x.db.NoSync = true // the file is worth nothing until close marks it clean
	x.path = path
	return nil
}

// close marks the file clean if it may be used again.
func (x *index) close(clean bool) error {
	var err error
	if clean && !x.private && !x.broken.Load() {
		if err = x.db.Sync(); err == nil {
			x.db.NoSync = false
			err = x.writeFile(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyState, stateClean) })
		}
	}
	err = errors.Join(err, guard(x.db.Close))
	if x.private {
		err = errors.Join(err, os.RemoveAll(filepath.Dir(x.path)))
	}
	if err != nil {
		return fmt.Errorf("repo: index cache: %w", err)
	}
	return nil
}

// update compares the cache with the store: what the store no longer has is
// dead, what the cache does not know yet is read.
func (x *index) update(ctx context.Context) error {
	present, err := x.r.listPacks(ctx)
	if err != nil {
		return err
	}
	condemned, err := x.r.condemned(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	err = x.readFile(func(tx *bbolt.Tx) error {
		err := tx.Bucket(bucketPacks).ForEach(func(k, v []byte) error {
			if len(k) != 4 || len(v) != 40 || binary.BigEndian.Uint32(k) != uint32(len(x.ids)) {
				return errBroken
			}
			x.number(PackID{Lease: ID(v[:16]), Pack: ID(v[16:32])}, int64(binary.BigEndian.Uint64(v[32:])))
			return nil
		})
		if err != nil {
			return err
		}
		return tx.Bucket(bucketObjects).ForEach(func(k, _ []byte) error {
			known[string(k)] = true
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("repo: index cache: %w", err)
	}
	var objects []string
	for info, err := range x.r.store.List(ctx, "index/") {
		if err != nil {
			return fmt.Errorf("repo: list index/: %w", err)
		}
		if !known[info.Name] {
			objects = append(objects, info.Name)
		}
	}
	for _, name := range objects {
		packs, err := x.r.getIndex(ctx, name)
		if isNotExist(err) {
			continue
		}
		var damage *CorruptError
		if errors.As(err, &damage) {
			continue // its packs are read through their own directories; check names it
		}
		if err != nil {
			return err
		}
		var add []sealedPack
		for _, p := range packs {
			if size, there := present[p.id]; x.unknown(p.id) && there && size == p.size {
				add = append(add, p)
			}
		}
		if err := x.insert(add, name); err != nil {
			return err
		}
	}
	if err := x.adopt(ctx, present); err != nil {
		return err
	}
	for i, id := range x.ids {
		size, there := present[id]
		x.live[i] = there && size == x.sizes[i] && !condemned[id]
	}
	return nil
}

// adopt reads the directories of packs that no index object lists: what an
// interrupted backup left is used again, if it is whole.
func (x *index) adopt(ctx context.Context, present map[PackID]int64) error {
	var add []sealedPack
	var missing []PackID
	for id := range present {
		if x.unknown(id) {
			missing = append(missing, id)
		}
	}
	sort.Slice(missing, func(i, j int) bool { return missing[i].String() < missing[j].String() })
	for _, id := range missing {
		head, slots, err := x.r.readDirectory(ctx, id)
		var damage *CorruptError
		if isNotExist(err) || errors.As(err, &damage) {
			continue // not used; check names it
		}
		if err != nil {
			return err
		}
		end := newDirectory(id, head.Epoch, slots).end()
		if end != present[id] {
			continue
		}
		add = append(add, sealedPack{id: id, size: end, slots: slots, directory: head.Directory})
		if len(add) == packsPerIndex {
			if err := x.insert(add, ""); err != nil {
				return err
			}
			add = add[:0]
		}
	}
	return x.insert(add, "")
}

func (x *index) unknown(id PackID) bool {
	_, ok := x.nums[id]
	return !ok
}

// number gives a pack its number.
func (x *index) number(id PackID, size int64) uint32 {
	n, ok := x.nums[id]
	if !ok {
		n = uint32(len(x.ids))
		x.nums[id] = n
		x.ids = append(x.ids, id)
		x.sizes = append(x.sizes, size)
		x.live = append(x.live, true)
	}
	return n
}

// insert writes packs into the file; object is the index object they come
// from, if any.
func (x *index) insert(packs []sealedPack, object string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	type entry struct {
		hash Hash
		pack uint32
		slot uint16
	}
	var entries []entry
	err := x.writeFile(func(tx *bbolt.Tx) error {
		for _, p := range packs {
			n := x.number(p.id, p.size)
			v := binary.BigEndian.AppendUint64(append(p.id.Lease[:], p.id.Pack[:]...), uint64(p.size))
			if err := tx.Bucket(bucketPacks).Put(binary.BigEndian.AppendUint32(nil, n), v); err != nil {
				return err
			}
			for i, s := range p.slots {
				entries = append(entries, entry{s.Hash, n, uint16(i)})
			}
		}
		sort.Slice(entries, func(i, j int) bool { return string(entries[i].hash[:]) < string(entries[j].hash[:]) })
		chunks := tx.Bucket(bucketChunks)
		for i := range entries {
			e := &entries[i]
			v := binary.BigEndian.AppendUint32(nil, e.pack)
			v = binary.BigEndian.AppendUint16(v, e.slot)
			if err := chunks.Put(e.hash[:], binary.BigEndian.AppendUint32(v, entrySum(e.hash[:], v))); err != nil {
				return err
			}
		}
		if object != "" {
			return tx.Bucket(bucketObjects).Put([]byte(object), nil)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("repo: index cache: %w", err)
	}
	for i := range entries {
		delete(x.fresh, entries[i].hash)
	}
	return nil
}

// entrySum guards an entry of the cache against rot in the file.
func entrySum(hash, value []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(hash), crc32.IEEETable, value)
}

// lookup fills in the addresses of the chunks that the repository has.
func (x *index) lookup(items []item) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.readFile(func(tx *bbolt.Tx) error {
		chunks := tx.Bucket(bucketChunks)
		for i := range items {
			it := &items[i]
			if it.kind != pieceData || it.known {
				continue
			}
			it.addr, it.known = x.find(chunks, it.hash)
		}
		return nil
	})
}

func (x *index) find(chunks *bbolt.Bucket, h Hash) (Address, bool) {
	if a, ok := x.fresh[h]; ok {
		return a, true
	}
	v := chunks.Get(h[:])
	if len(v) != 10 || entrySum(h[:], v[:6]) != binary.BigEndian.Uint32(v[6:]) {
		return Address{}, false
	}
	n := binary.BigEndian.Uint32(v)
	if n >= uint32(len(x.ids)) || !x.live[n] {
		return Address{}, false
	}
	return Address{Pack: x.ids[n], Slot: uint32(binary.BigEndian.Uint16(v[4:]))}, true
}

// one looks a single chunk up.
func (x *index) one(h Hash) (Address, bool) {
	items := []item{{hash: h}}
	if err := x.lookup(items); err != nil {
		return Address{}, false
	}
	return items[0].addr, items[0].known
}

// recent finds a chunk that was added since the last insert.
func (x *index) recent(h Hash) (Address, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	a, ok := x.fresh[h]
	return a, ok
}

// add remembers a chunk that has its place in a pack under way.
func (x *index) add(h Hash, a Address) {
	x.mu.Lock()
	x.fresh[h] = a
	x.mu.Unlock()
}

// usable reports whether a new map may name a pack.
func (x *index) usable(id PackID) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n, ok := x.nums[id]
	return ok && x.live[n]
}

// distrust takes a pack that turned out to be damaged out of use: what it
// holds is stored again when it comes by.
func (x *index) distrust(err error) {
	var d *CorruptError
	if !errors.As(err, &d) {
		return
	}
	id, err := ParsePackID(strings.TrimPrefix(d.Object, "packs/"))
	if err != nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if n, ok := x.nums[id]; ok {
		x.live[n] = false
	}
}

// listPacks gives the packs in the store and their sizes.
func (r *Repo) listPacks(ctx context.Context) (map[PackID]int64, error) {
	packs := map[PackID]int64{}
	for info, err := range r.store.List(ctx, "packs/") {
		if err != nil {
			return nil, fmt.Errorf("repo: list packs/: %w", err)
		}
		if id, err := ParsePackID(strings.TrimPrefix(info.Name, "packs/")); err == nil {
			packs[id] = info.Size
		}
	}
	return packs, nil
}

// condemned gives the packs that prune is about to delete. A list that cannot
// be opened condemns nothing: prune cannot open it either.
func (r *Repo) condemned(ctx context.Context) (map[PackID]bool, error) {
	packs := map[PackID]bool{}
	for info, err := range r.store.List(ctx, "condemned/") {
		if err != nil {
			return nil, fmt.Errorf("repo: list condemned/: %w", err)
		}
		_, b, err := r.getObject(ctx, typeCondemned, info.Name)
		var damage *CorruptError
		if errors.As(err, &damage) { // once more: it may have been the way here
			_, b, err = r.getObject(ctx, typeCondemned, info.Name)
		}
		if isNotExist(err) || errors.As(err, &damage) {
			continue // check names a damaged one
		}
		if err != nil {
			return nil, err
		}
		ids, err := parseCondemned(b)
		if err != nil {
			return nil, corrupt(info.Name, err)
		}
		for _, id := range ids {
			packs[id] = true
		}
	}
	return packs, nil
}

// parseCondemned reads the list of packs that one condemned/ object holds:
// 32 bytes each.
func parseCondemned(b []byte) ([]PackID, error) {
	if len(b)%32 != 0 {
		return nil, errors.New("the list of packs has a broken length")
	}
	ids := make([]PackID, len(b)/32)
	for i := range ids {
		copy(ids[i].Lease[:], b[i*32:])
		copy(ids[i].Pack[:], b[i*32+16:])
	}
	return ids, nil
}
