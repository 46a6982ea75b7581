#!/usr/bin/env bash
# A real file system goes through a volume and comes back: in with qemu-img and with nbdcopy, byte-identical, then
# mounted from the volume (nbdfuse and a loop device), worked on, unmounted and checked.
#
#   filesystem.sh URI TREE [MIB]     URI: an export of at least MIB MiB (default 3072), whose contents are destroyed
#                                    TREE: a directory whose files fill the image
#
# Needs root for the mount (skipped by name otherwise). Leaves nothing behind, also when it fails.
set -euo pipefail
uri=$1 tree=$2 mib=${3:-3072}
# The distribution's tools, whatever else is on the path.
PATH=/usr/bin:/usr/sbin:/bin:/sbin:$PATH
work=$(mktemp -d)
loop="" fuse=""
cleanup() {
  mountpoint -q "$work/mnt" && umount "$work/mnt"
  [ -n "$loop" ] && losetup -d "$loop"
  [ -n "$fuse" ] && { fusermount3 -u "$work/fuse" 2>/dev/null || true; wait "$fuse" 2>/dev/null || true; }
  rm -rf "$work"
}
trap cleanup EXIT
say() { printf '%s\n' "$*"; }

truncate -s "${mib}M" "$work/in.img"
mkfs.ext4 -q -F -N 200000 -d "$tree" "$work/in.img"
files=$(find "$tree" -type f | wc -l)
bytes=$(du -sm "$tree" | cut -f1)
say "image: $files files, $bytes MiB in an ext4 of $mib MiB"

size=$(nbdinfo --size "$uri")
[ "$size" -ge $((mib << 20)) ] || { say "export has $size bytes, the image $((mib << 20))"; exit 1; }

say "in with qemu-img convert"
qemu-img convert -n -f raw -O raw -W -m 16 "$work/in.img" "$uri"
say "out with nbdcopy, compared byte by byte"
nbdcopy --connections=4 "$uri" "$work/out.img"
cmp -n $((mib << 20)) "$work/in.img" "$work/out.img"
rm "$work/out.img"

say "in with nbdcopy, over a volume of zeroes"
python_zero='h.zero(min(h.get_size(), 1 << 31), 0)'
nbdsh -u "$uri" -c "$python_zero"
nbdcopy --flush --connections=4 --requests=64 "$work/in.img" "$uri"
qemu-img convert -f raw -O raw "$uri" "$work/out.img"
cmp -n $((mib << 20)) "$work/in.img" "$work/out.img"
rm "$work/out.img"
say "both ways byte-identical"

if [ "$(id -u)" != 0 ] || [ ! -e /dev/fuse ]; then
  say "SKIP mount: needs root and /dev/fuse"
  exit 0
fi
mkdir "$work/fuse" "$work/mnt"
nbdfuse "$work/fuse/disk" "$uri" &
fuse=$!
until [ -e "$work/fuse/disk" ]; do kill -0 "$fuse"; sleep 0.05; done
loop=$(losetup --find --show --direct-io=on --sizelimit $((mib << 20)) "$work/fuse/disk")
mount "$loop" "$work/mnt"
if diff -rq --no-dereference "$tree" "$work/mnt" | grep -v lost+found | head -n 5 | grep .; then exit 1; fi
say "mounted: every file is as it was"
mkdir "$work/mnt/work"
for n in $(seq 200); do head -c $((n * 1013)) /dev/urandom > "$work/mnt/work/f$n"; done
(cd "$work/mnt/work" && md5sum f* > "$work/sums" && rm f1*0 && mv f2 renamed && cp renamed f2)
sync -f "$work/mnt"
umount "$work/mnt"
e2fsck -fn "$loop" | tail -n 1
mount "$loop" "$work/mnt"
(cd "$work/mnt/work" && grep -v ' f1.*0$' "$work/sums" | md5sum -c --quiet)
umount "$work/mnt"
losetup -d "$loop"
loop=""
fusermount3 -u "$work/fuse"
wait "$fuse" 2>/dev/null || true
fuse=""
say "worked on, unmounted, checked, read again: intact"
