#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs the commands of the bundle's INSTALL where there is no network, over this system in a mount namespace of its own.
# usage, as root: tests/packaging/in_bundle.sh   (make test-bundle; needs `make bundle`)
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ "${IN_BUNDLE_NAMESPACE-}" = "" ]; then
  exec env -i IN_BUNDLE_NAMESPACE=yes HOME=/nonexistent PATH=/usr/sbin:/usr/bin:/sbin:/bin unshare --mount --net "$PWD/tests/packaging/in_bundle.sh"
fi
scratch=$(mktemp -d)
trap 'umount -l /usr /etc /opt "$scratch" 2>/dev/null || true; rmdir "$scratch"' EXIT
bundle=$PWD/build/bundle
mount -t tmpfs tmpfs "$scratch"
for tree in usr etc; do
  mkdir -p "$scratch/$tree/upper" "$scratch/$tree/work"
  mount -t overlay overlay -o "lowerdir=/$tree,upperdir=$scratch/$tree/upper,workdir=$scratch/$tree/work" "/$tree"
done
mount -t tmpfs tmpfs /opt
mkdir "$scratch/bundle"
tar -x -C "$scratch/bundle" --strip-components 1 -f "$bundle"/fence-halvm-*.tar.gz
cd "$scratch/bundle"
sed -n 's/^    //p' INSTALL >commands
[ "$(wc -l <commands)" -ge 3 ]
bash -eux commands >log 2>&1 || { tail -n 20 log >&2; exit 1; }
for program in fence_halvm halvm-watchdogd halvmctl halvm-exporter; do
  "$program" --version >/dev/null
  man -w "$program" >/dev/null
done
fence_halvm -o metadata | grep -q '<resource-agent name="fence_halvm"'
systemd-analyze verify halvm-watchdogd.service halvm-watchdogd-storage.service halvm-exporter.service
echo "== bundle: all well"
