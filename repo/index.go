package repo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// packsPerIndex is how many packs are stored before an index object lists them.
const packsPerIndex = 64

// An index object lists packs: in its clear part what a storage host needs to
// check them without keys, in its sealed part their directories.
const indexEntrySize = 32 + 8 + 32 + 4

// putIndex writes an index object over packs and returns its name.
func (r *Repo) putIndex(ctx context.Context, packs []sealedPack) (string, error) {
	var id ID
	if _, err := io.ReadFull(r.rand, id[:]); err != nil {
		return "", fmt.Errorf("repo: random bytes: %w", err)
	}
	var clear, payload []byte
	for _, p := range packs {
		clear = append(clear, p.id.Lease[:]...)
		clear = append(clear, p.id.Pack[:]...)
		clear = binary.LittleEndian.AppendUint64(clear, uint64(p.size))
		clear = append(clear, p.sum[:]...)
		clear = binary.LittleEndian.AppendUint32(clear, p.directory)
		payload = binary.LittleEndian.AppendUint32(payload, uint32(len(p.slots)))
		for _, s := range p.slots {
			payload = appendSlotInfo(payload, s)
		}
	}
	name := "index/" + id.String()
	_, err := r.putObject(ctx, typeIndex, name, clear, payload, false)
	return name, err
}

// getIndex reads an index object.
func (r *Repo) getIndex(ctx context.Context, name string) ([]sealedPack, error) {
	clear, payload, err := r.getObject(ctx, typeIndex, name)
	if err != nil {
		return nil, err
	}
	packs, err := parseIndex(clear, payload)
	if err != nil {
		return nil, corrupt(name, err)
	}
	return packs, nil
}

func parseIndex(clear, payload []byte) ([]sealedPack, error) {
	if len(clear)%indexEntrySize != 0 {
		return nil, errors.New("the list of packs has a broken length")
	}
	packs := make([]sealedPack, len(clear)/indexEntrySize)
	for i := range packs {
		e := clear[i*indexEntrySize:]
		p := &packs[i]
		copy(p.id.Lease[:], e)
		copy(p.id.Pack[:], e[16:])
		p.size = int64(binary.LittleEndian.Uint64(e[32:]))
		copy(p.sum[:], e[40:])
		p.directory = binary.LittleEndian.Uint32(e[72:])
		if len(payload) < 4 {
			return nil, errors.New("a directory is missing")
		}
		n := binary.LittleEndian.Uint32(payload)
		if n == 0 || n > maxSlots || int(n)*slotInfoSize > len(payload)-4 {
			return nil, fmt.Errorf("a directory of %d slots", n)
		}
		data := p.size - packHeadSize - int64(p.directory)
		var err error
		if p.slots, err = parseDirectory(payload[4:4+n*slotInfoSize], uint64(data)); err != nil {
			return nil, fmt.Errorf("pack %s: %w", p.id, err)
		}
		payload = payload[4+n*slotInfoSize:]
	}
	if len(payload) != 0 {
		return nil, errors.New("bytes behind the directories")
	}
	return packs, nil
}

// readDirectory reads a pack's own directory and checks it against its head.
func (r *Repo) readDirectory(ctx context.Context, id PackID) (packHead, []slotInfo, error) {
	name := packName(id)
	var head packHead
	const guess = 96 << 10 // the directory of a usual pack and its head
	b, err := readRange(ctx, r.store, name, 0, guess)
	if err != nil {
		return head, nil, err
	}
	if err := head.unmarshal(b); err == nil && len(b) == guess && packHeadSize+int64(head.Directory) > guess {
		rest, err := readRange(ctx, r.store, name, guess, packHeadSize+int64(head.Directory)-guess)
		if err != nil {
			return head, nil, err
		}
		b = append(b, rest...)
	}
	return r.openDirectory(id, b)
}

// openDirectory opens the directory in the first bytes of a pack, or in all.
func (r *Repo) openDirectory(id PackID, b []byte) (packHead, []slotInfo, error) {
	name := packName(id)
	var head packHead
	if err := head.unmarshal(b); err != nil {
		return head, nil, corrupt(name, err)
	}
	if head.ID != id {
		return head, nil, corrupt(name, fmt.Errorf("it says it is pack %s", head.ID))
	}
	if head.Cipher != r.keys.cipher {
		return head, nil, corrupt(name, fmt.Errorf("cipher %d", head.Cipher))
	}
	end := packHeadSize + int64(head.Directory)
	if int64(len(b)) < end {
		return head, nil, corrupt(name, errors.New("it ends inside the directory"))
	}
	a, err := r.keys.packAEAD(head.Epoch, id)
	if err != nil {
		return head, nil, err
	}
	text, err := a.Open(nil, slotNonce(directoryNonce), b[packHeadSize:end], append(r.keys.slotData(id, directoryNonce), b[:packHeadSize]...))
	if err != nil {
		return head, nil, corrupt(name, fmt.Errorf("directory: %w", errSeal))
	}
	slots, err := parseDirectory(text, head.Data)
	if err != nil {
		return head, nil, corrupt(name, err)
	}
	if len(slots) != int(head.Slots) {
		return head, nil, corrupt(name, fmt.Errorf("%d slots where the head says %d", len(slots), head.Slots))
	}
	return head, slots, nil
}
