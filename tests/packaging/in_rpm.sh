#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs build/rpm's packages over this system in a mount namespace of its own: their files and scriptlets, upgrade, removal.
# usage, as root: tests/packaging/in_rpm.sh   (make test-rpm; needs `make rpm`)
# No Fedora: dependencies are not looked at, and systemd's helper of the scriptlets does not exist on a Debian.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ "${IN_RPM_NAMESPACE-}" = "" ]; then
  IN_RPM_NAMESPACE=yes exec unshare --mount "$0" "$@"  # its mounts end with it
fi
scratch=$(mktemp -d)
trap 'umount -l /usr /etc /var /run "$scratch" 2>/dev/null || true; rmdir "$scratch"' EXIT
rpms=$PWD/build/rpm/RPMS/noarch
mount -t tmpfs tmpfs "$scratch"
for tree in usr etc var; do
  mkdir -p "$scratch/$tree/upper" "$scratch/$tree/work"
  mount -t overlay overlay -o "lowerdir=/$tree,upperdir=$scratch/$tree/upper,workdir=$scratch/$tree/work" "/$tree"
done
mount -t tmpfs tmpfs /run

step() { printf '== rpm: %s\n' "$*"; }
with_rpm() { rpm --dbpath "$scratch/db" --nodeps "$@"; }
is() { # EXPECTED FOUND WHAT
  [ "$1" = "$2" ] || { echo "$3: expected '$1', found '$2'" >&2; exit 1; }
}
works() {
  /usr/sbin/fence_halvm -o metadata | grep -q '<resource-agent name="fence_halvm"'
  for program in halvm-watchdogd halvmctl halvm-exporter; do "/usr/sbin/$program" --version >/dev/null; done
}

step "install"
with_rpm -i "$rpms"/*.rpm
with_rpm -V fence-halvm fence-halvm-exporter
works
[ -d /run/fence-halvm ] || { echo "/run/fence-halvm: not made by the scriptlet" >&2; exit 1; }
is disabled "$(SYSTEMD_OFFLINE=1 systemctl is-enabled halvm-watchdogd || true)" "the sidecar's unit"
step "bytecode is of its module"
/usr/bin/python3 - <<'END'
import struct, sys
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path

for module in Path("/usr/share/fence-halvm").rglob("*.py"):
    head = Path(cache_from_source(str(module))).read_bytes()[:16]
    facts = MAGIC_NUMBER + struct.pack("<III", 0, int(module.stat().st_mtime), module.stat().st_size)
    if head != facts:
        sys.exit(f"{module}: its bytecode would be compiled at every start")
END

step "upgrade and removal keep the configuration"
echo 'vg = "shared_vg"' >/etc/fence-halvm/watchdogd.toml
with_rpm -U --force "$rpms"/*.rpm
works
with_rpm -e fence-halvm fence-halvm-exporter 2>/dev/null
is 'vg = "shared_vg"' "$(cat /etc/fence-halvm/watchdogd.toml)" "the configuration after a removal"
is "" "$(find /usr/share/fence-halvm /usr/sbin/fence_halvm /usr/sbin/halvm* 2>/dev/null)" "files after a removal"
step "all well"
