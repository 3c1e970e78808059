#!/bin/bash
# Which kernel is there to boot? prepare.sh SERIES DIRECTORY unpacks Debian's cloud kernel of that series into the directory, beside an
# initramfs that mounts this machine's root; nothing is installed. The package is the newest of the mirror that apt uses here, or the
# .deb file that SLUICE_KERNEL_5_10 (SLUICE_KERNEL_6_1, ...) names. What is there already is kept.
#   Exit codes: 0 it is there; 3 no mirror of apt's has the package; others: it could not be made.
set -euo pipefail
series=$1 directory=$2
given=SLUICE_KERNEL_${series//./_}
package=${!given:-}

fail() { echo "kernel $series: $1" >&2; exit "${2:-1}"; }

# Of Debian's archive, not of its security archive: "http://deb.debian.org/debian".
find_mirror() {
  apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)' | sed -n 's#^Debian|\(.*/debian\)/*$#\1#p' | sort -u | sed -n 1p
}

# Prints the path of the series' newest package, downloaded with an apt configuration of its own: the machine's lists stay as they are.
download() {
  local mirror suite uri name apt=$directory/apt
  mirror=$(find_mirror)
  if [ -z "$mirror" ]; then apt-get -qq update >&2 || true; mirror=$(find_mirror); fi
  [ -n "$mirror" ] || fail "apt's sources name no Debian mirror" 3
  for suite in "$1-security" "$1"; do
    uri=$mirror
    [[ $suite = *-security ]] && uri=$mirror-security
    rm -rf "$apt" && mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main" >"$apt/sources"
    local own=(-qq -o "Dir::Etc::sourcelist=$apt/sources" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$apt/lists"
      -o Dir::State::status=/dev/null -o "Dir::Cache=$apt/cache" -o Acquire::Languages=none -o APT::Sandbox::User=root)
    apt-get "${own[@]}" update >&2 || continue
    # Package names carry the kernel's ABI; what the metapackage depends on is the newest.
    name=$(apt-cache "${own[@]}" depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | sed -n 1p)
    [ -n "$name" ] || continue
    (cd "$apt" && apt-get "${own[@]}" download "$name" >&2) || continue
    echo "$apt/$name"_*.deb
    return
  done
  fail "no package in $1-security and $1 of $mirror" 3
}

# The modules between power on and the machine's root, each after what it needs, and the first process that loads them.
make_initramfs() {
  local root=$1 release=$2 tree=$directory/initramfs module path name
  mkdir -p "$tree"/{bin,modules,proc,sys,dev,host,layer,root}
  cp "$(command -v busybox)" "$tree/bin/"
  : >"$tree/modules/order"
  for module in virtio_pci virtio_console virtiofs overlay; do
    # Built-in ones give no line.
    while read -r path; do
      name=$(basename "${path%.xz}" .zst)
      grep -qx "$name" "$tree/modules/order" && continue
      case $path in *.xz) xz -dc "$path" ;; *.zst) zstd -qdc "$path" ;; *) cat "$path" ;; esac >"$tree/modules/$name"
      echo "$name" >>"$tree/modules/order"
    done < <(modprobe -d "$root" -S "$release" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p')
  done
  install "$(dirname "$0")/init" "$tree/init"
  (cd "$tree" && find . | cpio -o -H newc --quiet | zstd -q) >"$directory/initramfs.zst"
  rm -rf "$tree"
}

[ -z "$package" ] || [ -f "$package" ] || fail "$given names $package, which is not there"
if [ -f "$directory/release" ] && { [ -z "$package" ] || [ "$(cat "$directory/package")" = "$(basename "$package")" ]; }; then exit 0; fi
rm -rf "$directory" && mkdir -p "$directory"
case $series in 5.10) suite=bullseye ;; 6.1) suite=bookworm ;; 6.12) suite=trixie ;; *) fail 'not a series that a release of Debian has' ;; esac
[ -n "$package" ] || package=$(download $suite) || exit $?
root=$directory/root
dpkg-deb -x "$package" "$root"
[ -e "$root/lib" ] || ln -s usr/lib "$root/lib" # from trixie on everything is under /usr
release=$(ls "$root/lib/modules")
depmod -b "$root" "$release"
cp "$root/boot/vmlinuz-$release" "$directory/vmlinuz"
make_initramfs "$root" "$release"
basename "$package" >"$directory/package"
rm -rf "$directory/apt"
echo "$release" >"$directory/release"
