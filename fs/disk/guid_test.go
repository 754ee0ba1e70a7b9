package disk_test

import (
	"encoding/json"
	"testing"

	"vitrine/fs/disk"
)

func TestGUIDIsMixedEndianOnDisk(t *testing.T) {
	want := disk.GUID{0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08}
	for _, text := range []string{
		"2dc27766-f623-4200-9d64-115e9bfd4a08",
		"2DC27766-F623-4200-9D64-115E9BFD4A08",
		"{2dc27766-f623-4200-9d64-115E9BFD4A08}",
	} {
		got, err := disk.ParseGUID(text)
		if err != nil || got != want {
			t.Errorf("ParseGUID(%q) = %x, %v; want %x", text, [16]byte(got), err, [16]byte(want))
		}
	}
	if got := want.String(); got != "2dc27766-f623-4200-9d64-115e9bfd4a08" {
		t.Errorf("String = %q", got)
	}
}

func TestParseGUIDRefusesOtherText(t *testing.T) {
	for _, text := range []string{
		"", "{}", "{", "2dc27766", "2dc27766f62342009d64115e9bfd4a08",
		"{2dc27766-f623-4200-9d64-115e9bfd4a08", "2dc27766-f623-4200-9d64-115e9bfd4a08}",
		"(2dc27766-f623-4200-9d64-115e9bfd4a08)", "2dc27766-f623-4200-9d64-115e9bfd4a0g",
		"2dc27766_f623-4200-9d64-115e9bfd4a08", "2dc27766-f623-4200-9d64-115e9bfd4a0é",
	} {
		if g, err := disk.ParseGUID(text); err == nil {
			t.Errorf("ParseGUID(%q) = %v, want an error", text, g)
		}
	}
}

func TestGUIDTravelsThroughJSON(t *testing.T) {
	in := map[string]disk.GUID{"id": {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"id":"04030201-0605-0807-090a-0b0c0d0e0f10"}`; string(text) != want {
		t.Errorf("got %s, want %s", text, want)
	}
	var out map[string]disk.GUID
	if err := json.Unmarshal(text, &out); err != nil || out["id"] != in["id"] {
		t.Errorf("got %v, %v; want %v", out, err, in)
	}
	if err := json.Unmarshal([]byte(`{"id":"x"}`), &out); err == nil {
		t.Error("a bad GUID in JSON is accepted")
	}
}

func TestGUIDIsZero(t *testing.T) {
	if !(disk.GUID{}).IsZero() || (disk.GUID{15: 1}).IsZero() {
		t.Error("IsZero is wrong")
	}
}
