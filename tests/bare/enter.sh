#!/bin/bash
# enter.sh ROOT UID GID HOME [SHARED...] -- COMMAND...: run inside namespaces that were made for it, as their first process.
# Makes ROOT the whole machine, with devices and kernel file systems, and SHARED as the only folders from outside.
set -euo pipefail
root=$1 uid=$2 gid=$3 home=$4
shift 4
mount --make-rprivate /
mount --bind "$root" "$root"
while [ "$1" != -- ]; do
    mkdir -p "$root$1"
    mount --bind "$1" "$root$1"
    mount -o remount,bind,ro "$root$1"
    shift
done
shift
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
if grep -q cgroup2 /proc/filesystems && mkdir -p "$root/sys/fs/cgroup"; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup" || echo "a machine without cgroups" >&2
fi
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
if [ -c /dev/net/tun ]; then
    mkdir "$root/dev/net"
    mknod -m 0666 "$root/dev/net/tun" c 10 200 # for everybody, as udev makes it
fi
mkdir -p "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for number in 0 1 2; do ln -s "/proc/self/fd/$number" "$root/dev/$(echo stdin stdout stderr | cut -d ' ' -f $((number + 1)))"; done
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
mkdir -m 1777 "$root/run/lock"
hostname bare
cd "$root"
mkdir -p mnt/outside
pivot_root . mnt/outside
umount -l /mnt/outside
cd "$home"
# A child, so that this first process reaps whatever loses its parent.
status=0
setpriv --reuid "$uid" --regid "$gid" --init-groups "$@" || status=$?
exit "$status"
