package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"
)

// CheckOptions of Check.
type CheckOptions struct {
	ReadData bool                    // read, open and hash every chunk
	Progress func(done, total int64) // of stored bytes, with ReadData
}

// Finding is one thing that Check found wrong.
type Finding struct {
	Object   string     `json:"object"`
	Text     string     `json:"text"`
	Affected []Affected `json:"affected,omitempty"`
}

// Affected is a range of an image that cannot be read as it was stored.
type Affected struct {
	Machine MachineID `json:"vmId"`
	Name    string    `json:"vm"`
	Point   PointID   `json:"restorePoint"`
	Time    time.Time `json:"time"`
	Image   string    `json:"image,omitempty"` // "" is the whole restore point
	Start   int64     `json:"start"`
	End     int64     `json:"end"`
}

// CheckReport is what Check found.
type CheckReport struct {
	Findings []Finding `json:"findings"`
	Notes    []string  `json:"notes,omitempty"` // worth knowing, nothing wrong
	Points   int       `json:"restorePoints"`
	Images   int       `json:"images"`
	Packs    int       `json:"packs"`
	Chunks   int64     `json:"chunks"`
	Stored   int64     `json:"storedBytes"`
	Read     int64     `json:"readBytes"` // with ReadData
}

// Clean reports whether nothing was wrong.
func (c *CheckReport) Clean() bool { return len(c.Findings) == 0 }

// checker holds what is known of the repository while it is checked.
type checker struct {
	r    *Repo
	opts CheckOptions
	rep  *CheckReport

	names   []Info
	known   map[string]bool  // names
	packs   map[PackID]int64 // sizes in the store
	indexed map[PackID]sealedPack
	moved   map[PackID]bool
	notes   []Note

	mu       sync.Mutex
	damaged  map[PackID]map[uint32]error // slots that cannot be read
	affected map[string]*Finding         // by object

	reader   *reader          // of its own: what others have cached proves nothing
	verdicts map[partKey]bool // segments without a fault
}

// Check compares the repository with itself: every object opens, every map
// names chunks that are there and are the ones that were meant. With ReadData
// every chunk is read. Damage is a finding, not an error.
func (r *Repo) Check(ctx context.Context, o CheckOptions) (*CheckReport, error) {
	c := &checker{r: r, opts: o, rep: &CheckReport{Findings: []Finding{}}, packs: map[PackID]int64{}, indexed: map[PackID]sealedPack{},
		known: map[string]bool{}, moved: map[PackID]bool{}, damaged: map[PackID]map[uint32]error{},
		affected: map[string]*Finding{}, verdicts: map[partKey]bool{}, reader: newReader(r, r.opts.Cache, r.opts.Workers)}
	defer c.reader.close()
	for _, step := range []func(context.Context) error{c.list, c.vital, c.small, c.index, c.packDirectories, c.data, c.points} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	var objects []string
	for o := range c.affected {
		objects = append(objects, o)
	}
	sort.Strings(objects)
	for _, o := range objects {
		c.rep.Findings = append(c.rep.Findings, *c.affected[o])
	}
	return c.rep, nil
}

// find notes that something is wrong with an object.
func (c *checker) find(object string, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	if f, ok := c.affected[object]; ok {
		if !strings.Contains(f.Text, text) {
			f.Text += "; " + text
		}
		return
	}
	c.affected[object] = &Finding{Object: object, Text: text}
}

// hit notes what is affected by an object's damage.
func (c *checker) hit(object string, err error, a Affected) {
	text := "damaged"
	if err != nil {
		text = reason(err)
	}
	c.find(object, "%s", text)
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.affected[object]
	if n := len(f.Affected); n > 0 {
		last := &f.Affected[n-1]
		if last.Point == a.Point && last.Image == a.Image && last.End == a.Start {
			last.End = a.End
			return
		}
	}
	f.Affected = append(f.Affected, a)
}

// reason is an error without the object that a finding names anyway.
func reason(err error) string {
	var d *CorruptError
	if errors.As(err, &d) {
		if d.Slot >= 0 {
			return fmt.Sprintf("slot %d: %v", d.Slot, d.Err)
		}
		return d.Err.Error()
	}
	if isNotExist(err) {
		return "missing"
	}
	return err.Error()
}

// list takes stock of the store.
func (c *checker) list(ctx context.Context) error {
	strays := 0
	for info, err := range c.r.store.List(ctx, "") {
		if err != nil {
			return fmt.Errorf("repo: list: %w", err)
		}
		top, _, _ := strings.Cut(info.Name, "/")
		switch top {
		case "config", "copies", "keys", "index", "points", "notes", "leases", "condemned":
			c.names = append(c.names, info)
		case "packs", "moved":
			id, err := ParsePackID(strings.TrimPrefix(info.Name, top+"/"))
			if err != nil {
				strays++
				continue
			}
			c.names = append(c.names, info)
			if top == "moved" {
				c.moved[id] = true
				continue
			}
			c.packs[id] = info.Size
			c.rep.Stored += info.Size
		default:
			strays++
		}
	}
	for _, info := range c.names {
		c.known[info.Name] = true
	}
	c.rep.Packs = len(c.packs)
	if strays > 0 {
		c.rep.Notes = append(c.rep.Notes, fmt.Sprintf("%d files in the store are not the repository's", strays))
	}
	return nil
}

// below visits the names under a prefix.
func (c *checker) below(prefix string) []string {
	var out []string
	for _, i := range c.names {
		if strings.HasPrefix(i.Name, prefix) {
			out = append(out, i.Name)
		}
	}
	return out
}

// vital checks config and keys, which exist twice.
func (c *checker) vital(ctx context.Context) error {
	both := map[string][2]bool{configName: {}}
	for _, i := range c.names {
		name := strings.TrimPrefix(i.Name, "copies/")
		if name != configName && !strings.HasPrefix(name, "keys/") {
			if name != i.Name {
				c.rep.Notes = append(c.rep.Notes, i.Name+" is not the copy of anything")
			}
			continue
		}
		b := both[name]
		if name == i.Name {
			b[0] = true
		} else {
			b[1] = true
		}
		both[name] = b
	}
	for name, there := range both {
		var copies [2][]byte
		for k, n := range []string{name, copyName(name)} {
			if !there[k] {
				c.find(n, "missing; the other copy is there")
				continue
			}
			b, err := readObject(ctx, c.r.store, n)
			if err == nil {
				err = c.vitalOne(name, b)
			}
			if err != nil && !damaged(err) {
				return err
			}
			if err != nil {
				c.find(n, "%s; the other copy stands in", reason(err))
				continue
			}
			copies[k] = b
		}
		if copies[0] != nil && copies[1] != nil && !bytes.Equal(copies[0], copies[1]) {
			c.find(name, "it differs from its second copy: one of them is damaged")
			c.find(copyName(name), "it differs from the first copy: one of them is damaged")
		}
	}
	return nil
}

func (c *checker) vitalOne(name string, b []byte) error {
	if name == configName {
		_, err := c.r.openSecrets(b)
		return err
	}
	_, err := parseKeySlot(name, b)
	return err
}

// small opens notes, leases, condemned lists and moved records.
func (c *checker) small(ctx context.Context) error {
	kinds := map[string]objectType{"leases/": typeLease, "condemned/": typeCondemned, "moved/": typeMoved}
	for prefix, t := range kinds {
		for _, name := range c.below(prefix) {
			if lastPart(name) == "revoked" {
				continue
			}
			_, _, err := c.r.getObject(ctx, t, name)
			if isNotExist(err) {
				continue // ended or done since the listing
			}
			if err := c.damage(name, err); err != nil {
				return err
			}
		}
	}
	for _, name := range c.below("notes/") {
		n, err := c.r.openNote(ctx, name)
		if err == nil {
			c.notes = append(c.notes, n)
		}
		if err := c.damage(name, err); err != nil {
			return err
		}
	}
	return nil
}

// damage turns damage into a finding and hands other errors back.
func (c *checker) damage(name string, err error) error {
	if damaged(err) {
		c.find(name, "%s", reason(err))
		return nil
	}
	return err
}

// index reads the index objects and compares them with the packs in the store.
func (c *checker) index(ctx context.Context) error {
	for _, name := range c.below("index/") {
		packs, err := c.r.getIndex(ctx, name)
		if err != nil {
			if err := c.damage(name, err); err != nil {
				return err
			}
			continue
		}
		for _, p := range packs {
			c.indexed[p.id] = p
			size, ok := c.packs[p.id]
			switch {
			case !ok && !c.moved[p.id]:
				c.find(packName(p.id), "missing (%s lists it)", name)
			case ok && size != p.size:
				c.find(packName(p.id), "%d bytes long, not %d", size, p.size)
			}
		}
	}
	loose := 0
	for id := range c.packs {
		if _, ok := c.indexed[id]; !ok {
			loose++
		}
	}
	if loose > 0 {
		c.rep.Notes = append(c.rep.Notes, fmt.Sprintf("%d packs are in no index object: an interrupted or running backup wrote them; the next one uses them", loose))
	}
	return nil
}

// packDirectories compares every pack's own directory with the index.
func (c *checker) packDirectories(ctx context.Context) error {
	for id := range c.packs {
		_, slots, err := c.r.readDirectory(ctx, id)
		if isNotExist(err) {
			continue // deleted since the listing; a map that names it says so
		}
		if err != nil {
			if err := c.damage(packName(id), err); err != nil {
				return err
			}
			continue
		}
		c.rep.Chunks += int64(len(slots))
		if end := newDirectory(id, 0, slots).end(); end != c.packs[id] {
			c.find(packName(id), "%d bytes long, not %d", c.packs[id], end)
		}
		if p, ok := c.indexed[id]; ok && !sameSlots(slots, p.slots) {
			c.find(packName(id), "its directory differs from the index")
		}
	}
	return nil
}

func sameSlots(a, b []slotInfo) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// points opens every restore point and walks its maps.
func (c *checker) points(ctx context.Context) error {
	there, named := map[PointID]bool{}, map[MachineID]string{}
	var opened []*RestorePoint
	var broken []PointInfo
	for _, name := range c.below("points/") {
		info, err := parsePointName(Info{Name: name})
		if err != nil {
			c.rep.Notes = append(c.rep.Notes, name+" is not the name of a restore point")
			continue
		}
		there[info.ID] = true
		p, err := c.r.OpenPoint(ctx, info)
		if err != nil {
			if err := c.damage(name, err); err != nil {
				return err
			}
			broken = append(broken, info)
			continue
		}
		named[p.Machine] = p.Name
		opened = append(opened, p)
	}
	for _, n := range c.notes {
		if named[n.Machine] == "" {
			named[n.Machine] = n.Name
		}
	}
	for _, info := range broken {
		c.hit(info.Object, nil, Affected{Machine: info.Machine, Name: named[info.Machine], Point: info.ID, Time: info.Time})
	}
	c.vanished(there, named, opened)
	for _, p := range opened {
		c.rep.Points++
		for _, name := range p.Index {
			if !c.known[name] {
				// It may be younger than the listing.
				_, err := c.r.getIndex(ctx, name)
				if isNotExist(err) {
					c.find(name, "missing (restore point %s names it)", p.ID)
				} else if err := c.damage(name, err); err != nil {
					return err
				}
			}
		}
		for ref, image := range p.images {
			c.rep.Images++
			if err := c.image(ctx, p, image, *ref); err != nil {
				return err
			}
		}
	}
	return nil
}

// vanished finds restore points that were there and were not dropped on
// purpose.
func (c *checker) vanished(there map[PointID]bool, named map[MachineID]string, opened []*RestorePoint) {
	forgotten := map[PointID]bool{}
	for _, n := range c.notes {
		forgotten[n.Point] = forgotten[n.Point] || n.Kind == NoteForgotten
	}
	missing := func(id PointID, m MachineID, name, why string) {
		if there[id] || forgotten[id] || id.IsZero() {
			return
		}
		c.hit(fmt.Sprintf("points/%s/*-%s", m, id), fmt.Errorf("missing: %s", why), Affected{Machine: m, Name: name, Point: id})
		there[id] = true
	}
	for _, n := range c.notes {
		if n.Kind == NoteCommitted {
			missing(n.Point, n.Machine, n.Name, "it was committed and never forgotten")
		}
	}
	for _, p := range opened {
		missing(p.Previous, p.Machine, named[p.Machine], fmt.Sprintf("restore point %s follows it", p.ID))
	}
}

// image walks the map of one image.
func (c *checker) image(ctx context.Context, p *RestorePoint, name string, ref ImageRef) error {
	i := &Image{x: c.reader, ref: ref}
	at := func(start, end int64) Affected {
		return Affected{Machine: p.Machine, Name: p.Name, Point: p.ID, Time: p.Time, Image: name, Start: start, End: min(end, ref.Size)}
	}
	for n := range ref.Tables {
		if err := ctx.Err(); err != nil {
			return err
		}
		start := int64(n) * tableSize
		t, err := i.table(ctx, n)
		if err != nil {
			if err := c.mapDamage(err, packName(ref.Tables[n].Address.Pack), at(start, start+tableSize)); err != nil {
				return err
			}
			continue
		}
		if t == nil {
			continue
		}
		c.slotDamage(ref.Tables[n].Address, at(start, start+tableSize))
		for k, s := range t.refs {
			if s.hash.IsZero() || c.verdicts[partKey{s.addr, s.hash}] {
				continue
			}
			off := start + int64(k)*segmentSize
			good, err := c.segment(ctx, i, s, off, at)
			if err != nil {
				return err
			}
			if good {
				c.verdicts[partKey{s.addr, s.hash}] = true
			}
		}
	}
	return nil
}

// segment verifies every run of a segment against the packs' directories.
func (c *checker) segment(ctx context.Context, i *Image, s segmentRef, off int64, at func(start, end int64) Affected) (good bool, err error) {
	seg, err := i.segment(ctx, off/segmentSize)
	if err != nil {
		return false, c.mapDamage(err, packName(s.addr.Pack), at(off, off+segmentSize))
	}
	good = !c.slotDamage(s.addr, at(off, off+segmentSize))
	for k := range seg.runs {
		r := &seg.runs[k]
		if r.kind == runHole || r.kind == runLeft {
			continue
		}
		start := off + int64(r.first)*pageSize
		id := seg.packs[r.pack]
		d, err := c.reader.verified(ctx, seg, k)
		if err != nil {
			good = false
			if err := c.mapDamage(err, packName(id), at(start, start+int64(r.pages)*pageSize)); err != nil {
				return false, err
			}
			continue
		}
		if len(c.damaged) == 0 {
			continue
		}
		for page := r.first; page < r.first+r.pages; {
			slot, first := d.locate(r, page)
			next := first + d.pages(slot)
			a := Address{Pack: id, Slot: slot}
			if d.moved != nil {
				a = d.moved[slot]
			}
			if c.slotDamage(a, at(off+int64(page)*pageSize, off+int64(next)*pageSize)) {
				good = false
			}
			page = next
		}
	}
	return good, nil
}

// slotDamage reports a part of a map that lies in a slot known to be damaged.
func (c *checker) slotDamage(a Address, what Affected) bool {
	err, ok := c.damaged[a.Pack][a.Slot]
	if ok {
		c.hit(packName(a.Pack), err, what)
	}
	return ok
}

// mapDamage notes that a part of an image cannot be found or is not what was
// meant.
func (c *checker) mapDamage(err error, object string, what Affected) error {
	if damaged(err) {
		c.hit(object, err, what)
		return nil
	}
	return err
}
