#!/bin/bash
# How does a command run under another kernel? boot.sh DIRECTORY SECONDS COMMAND [ARGUMENT...] boots what prepare.sh made, in QEMU without
# KVM, and runs the command there as root in this directory. The command sees this machine's files; what it writes is lost.
#   stdout and stderr are the command's, and so is the exit code, but 124: it took longer; 125: the machine was not made or its kernel died.
set -euo pipefail
directory=$(realpath "$1") seconds=$2
shift 2

for virtiofsd in /usr/lib/qemu/virtiofsd /usr/libexec/virtiofsd ''; do [ -x "$virtiofsd" ] && break; done
if [ -z "$virtiofsd" ]; then echo 'No virtiofsd: from Debian 13 on it is a package of its own, apt-get install virtiofsd.' >&2; exit 125; fi

scratch=$(mktemp -d)
started=()
trap 'kill "${started[@]}" 2>/dev/null || true; wait; rm -rf "$scratch"' EXIT
trap 'exit 143' TERM INT HUP

# What runs there: mounts, the command with a port for each stream, its exit code through a third, power off.
{
  cat <<'EOF'
set -e # the first process may not end: what fails here is a kernel that dies
exec >/dev/console 2>&1 </dev/null
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mkdir -p /dev/pts /dev/shm /lib/modules
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
ln -sfn /proc/self/fd /dev/fd
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
for port in /sys/class/virtio-ports/*; do read -r name <"$port/name"; declare "port_$name=/dev/${port##*/}"; done
EOF
  printf 'mount --bind %q /lib/modules\ncd %q\n(exec' "$directory/root/lib/modules" "$PWD"
  printf ' %q' "$@"
  printf ') >"$port_out" 2>"$port_err" && code=0 || code=$?\necho $code >"$port_code"\nbusybox reboot -f\n'
} >"$scratch/command.sh"
(cd "$scratch" && echo command.sh | cpio -o -H newc --quiet) | zstd -q | cat "$directory/initramfs.zst" - >"$scratch/initramfs.zst"

if [[ $virtiofsd = */qemu/* ]]; then share=(-o source=/ -o cache=always -o sandbox=chroot -o no_posix_lock); else share=(--shared-dir=/ --sandbox=chroot); fi
"$virtiofsd" --socket-path="$scratch/socket" "${share[@]}" >"$scratch/virtiofsd.log" 2>&1 &
started+=($!)
for ((tries = 0; tries < 200; tries++)); do
  [ -S "$scratch/socket" ] && break
  kill -0 "${started[0]}" 2>/dev/null || break
  sleep 0.05
done

mkfifo "$scratch/out" "$scratch/err"
cat "$scratch/out" &
readers=($!)
cat "$scratch/err" >&2 &
readers+=($!)
started+=("${readers[@]}")
port() { printf -- '-chardev file,id=%s,path=%s -device virtserialport,chardev=%s,name=%s ' "$1" "$scratch/$1" "$1" "$1"; }
# A device node for KVM is no proof that it is worth asking: emulation always answers the same.
timeout "$seconds" qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m 2G \
  -object memory-backend-memfd,id=memory,size=2G,share=on -numa node,memdev=memory \
  -no-user-config -nodefaults -display none -no-reboot -kernel "$directory/vmlinuz" -initrd "$scratch/initramfs.zst" \
  -append 'console=ttyS0 quiet panic=-1 oops=panic mitigations=off nokaslr net.ifnames=0' -serial "file:$scratch/console" \
  -object rng-random,id=random,filename=/dev/urandom -device virtio-rng-pci,rng=random -device virtio-serial-pci \
  $(port out) $(port err) $(port code) \
  -chardev "socket,id=machine,path=$scratch/socket" -device vhost-user-fs-pci,chardev=machine,tag=machine \
  >"$scratch/qemu.log" 2>&1 </dev/null &
qemu=$!
started+=($qemu)
ended=0
wait $qemu || ended=$?
# QEMU that never came so far leaves them waiting for a writer.
: 3<>"$scratch/out" 4<>"$scratch/err"
wait "${readers[@]}"
[ -s "$scratch/code" ] && exit "$(cat "$scratch/code")"
if [ $ended = 124 ]; then echo "Not done after $seconds s." >&2; exit 124; fi
tail -n 40 "$scratch/virtiofsd.log" "$scratch/qemu.log" "$scratch/console" >&2 || true
exit 125
