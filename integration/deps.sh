#!/bin/sh
# Installs the Debian packages that tests and demo need, where they are missing.
set -eu

# gcc, libc6-dev: race detector, cgofuse; libfuse-dev: cgofuse; the others make
# disks and file systems, read them as judges, or inject faults.
need="gcc libc6-dev libfuse-dev fuse3 strace qemu-utils libvhdi-utils p7zip-full
      gdisk e2fsprogs ntfs-3g xfsprogs dosfstools mtools lvm2"

if ! command -v dpkg >/dev/null; then
	echo "not Debian: tests that lack one of these skip:" $need >&2
	exit 0
fi
missing=
for p in $need; do
	dpkg -s "$p" 2>/dev/null | grep -q '^Status: install ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

echo "installing$missing" >&2
root=
[ "$(id -u)" = 0 ] || root=sudo
$root apt-get -qq update
$root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $missing >/dev/null
