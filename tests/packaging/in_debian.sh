#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs build/deb's packages in a fresh minimal Debian, tries them, upgrades, removes, reinstalls, purges.
# usage, as root: tests/packaging/in_debian.sh SUITE MIRROR   (make test-deb; needs `make deb` and debootstrap)
set -euo pipefail
suite=$1 mirror=$2
cd "$(dirname "$0")/../.."
if [ "${IN_DEBIAN_NAMESPACE-}" = "" ]; then
  IN_DEBIAN_NAMESPACE=yes exec unshare --mount "$0" "$@"  # its mounts end with it
fi
root=$(mktemp -d)
trap 'umount "$root/dev" "$root/proc" 2>/dev/null || true; rm -rf --one-file-system "$root"' EXIT

step() { printf '== %s: %s\n' "$suite" "$*"; }
within() { chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"; }
install() { within sh -c 'apt-get -qq -y --no-install-recommends --allow-downgrades install "$@" >/tmp/apt.log 2>&1 || { cat /tmp/apt.log; exit 1; }' - "$@"; }
is() { # EXPECTED FOUND WHAT
  [ "$1" = "$2" ] || { echo "$3: expected '$1', found '$2'" >&2; exit 1; }
}

step "debootstrap"
script=
[ -e "/usr/share/debootstrap/scripts/$suite" ] || script=trixie  # a suite younger than this debootstrap
# shellcheck disable=SC2086
debootstrap --variant=minbase "$suite" "$root" "$mirror" $script >"$root.log" 2>&1 || { tail -n 5 "$root.log" >&2; exit 1; }
rm -f "$root.log"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
cp /etc/resolv.conf "$root/etc/resolv.conf"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
mkdir "$root/debs"
cp build/deb/*.deb "$root/debs"
agent=$(basename build/deb/fence-halvm_*.deb) exporter=$(basename build/deb/fence-halvm-exporter_*.deb)
echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/99tests"  # a mirror's testing suite may be old
within apt-get -qq update

step "size"
for package in "$agent" "$exporter"; do
  [ "$(stat -c %s "build/deb/$package")" -lt 2000000 ] || { echo "$package: 2 MB or more" >&2; exit 1; }
done

step "install"
install "/debs/$agent" "/debs/$exporter" man-db systemd openipmi
within dpkg -V fence-halvm fence-halvm-exporter
for page in fence_halvm halvm-watchdogd halvmctl halvm-exporter; do within man -w "$page" >/dev/null; done
within systemd-analyze verify halvm-watchdogd.service halvm-watchdogd-storage.service halvm-exporter.service
is disabled "$(within systemctl is-enabled halvm-watchdogd || true)" "the sidecar's unit"
is enabled "$(within systemctl is-enabled halvm-exporter)" "the exporter's unit"
is "" "$(find "$root/usr/share/fence-halvm" -name '*.py' | while read -r module; do
  compgen -G "$(dirname "$module")/__pycache__/$(basename "$module" .py).cpython-*.pyc" >/dev/null || echo "$module"; done)" \
  "modules without bytecode"

step "use"
cp packaging/debian/tests/smoke "$root/smoke"
within /smoke
quiet() { # what Python warns of goes to stderr, and from there into Pacemaker's log
  is "" "$(within python3 -W error -IS "$@" 2>&1 >/dev/null | grep -v "^$(basename "$1"): " || true)" "stderr of $*"
}
for program in fence_halvm halvm-watchdogd halvmctl halvm-exporter; do
  quiet "/usr/sbin/$program" --version
  quiet "/usr/sbin/$program" --help
done
quiet /usr/sbin/fence_halvm -o metadata
echo 'vg = "shared_vg"' >"$root/settings.toml"
quiet /usr/sbin/halvm-watchdogd --check-config --config /settings.toml

step "upgrade keeps configuration and state"
mkdir -p "$root/etc/fence-halvm" "$root/var/lib/fence-halvm"
echo 'vg = "shared_vg"' >"$root/etc/fence-halvm/watchdogd.toml"
echo note >"$root/run/fence-halvm/registered"
echo journal >"$root/var/lib/fence-halvm/journal.db"
within systemctl enable -q halvm-watchdogd
version=$(dpkg-deb -f "build/deb/$agent" Version)
for package in "$agent" "$exporter"; do
  dpkg-deb -R "build/deb/$package" "$root/next"
  sed -i "s/^Version: .*/&+next/; s/(= $version)/(= $version+next)/" "$root/next/DEBIAN/control"
  within dpkg-deb -b /next "/debs/next-$package" >/dev/null
  rm -r "$root/next"
done
install "/debs/next-$agent" "/debs/next-$exporter"
is enabled "$(within systemctl is-enabled halvm-watchdogd)" "the sidecar's unit after the upgrade"
is note "$(cat "$root/run/fence-halvm/registered")" "this boot's note after the upgrade"
within fence_halvm -o metadata >/dev/null

step "remove, reinstall, purge"
within apt-get -qq -y remove fence-halvm fence-halvm-exporter >/dev/null
is 'vg = "shared_vg"' "$(cat "$root/etc/fence-halvm/watchdogd.toml")" "the configuration after a removal"
install "/debs/$agent" "/debs/$exporter"
within fence_halvm -o metadata >/dev/null
within apt-get -qq -y purge fence-halvm fence-halvm-exporter >/dev/null
is "" "$(find "$root/usr/share/fence-halvm" "$root/var/lib/fence-halvm" 2>/dev/null)" "files after a purge"
is note "$(cat "$root/run/fence-halvm/registered")" "this boot's note after the purge"
step "all well"
