// Package ntfs reads NTFS volumes: files, streams, links and what the volume
// says about itself. It never writes and replays no log; what a dirty volume
// may lack is said in Notes.
//
// Words, as the format uses them:
//
//	cluster     unit of allocation, 512 B to 2 MiB
//	LCN, VCN    number of a cluster on the volume, within an attribute
//	run         neighbouring clusters of an attribute, or a hole in it
//	record      1 or 4 KiB of the master file table ($MFT): one file, or a part
//	            of one that needs several
//	attribute   a named, typed value of a file, in the record (resident) or in
//	            clusters; attributes of many runs come in several pieces
//	stream      an attribute's content; a file's data is its unnamed $DATA
//	reference   a record's number (48 bits) and how often it was used (16)
//	fixup       last two bytes of every 512 bytes of a record or index block,
//	            kept elsewhere so that a torn write shows
//	unit        the clusters that LZNT1 compresses together, mostly 64 KiB
//
// Names are valid UTF-8 without a slash, as io/fs wants them: UTF-16 code units
// that are none (unpaired surrogates, and slashes or zeros in damaged names)
// are shown as private-use characters and found by these. Lookup takes the
// exact name first, then one that differs only in case ($UpCase). An alternate
// stream opens as "name:stream". The metadata files ($MFT, $Bitmap …) are not
// listed and open by name.
package ntfs
