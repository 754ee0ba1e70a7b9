package backup

// Progress is told how far long work has come. It is called from several
// goroutines.
type Progress interface {
	// Begin announces an item of a machine, such as a disk, of total bytes.
	Begin(machine, item string, total int64) Meter
}

// Meter counts one item's bytes. End is called once, with the error that
// ended it or nil.
type Meter interface {
	Add(bytes int64)
	End(err error)
}

// silent is the Progress of those who want none.
type silent struct{}

func (silent) Begin(string, string, int64) Meter { return silent{} }
func (silent) Add(int64)                         {}
func (silent) End(error)                         {}

func orSilent(p Progress) Progress {
	if p == nil {
		return silent{}
	}
	return p
}
