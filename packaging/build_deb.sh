#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds both .deb packages. Needs packaging/debian/host-packages.txt.
#   packaging/build_deb.sh                        of the committed tree, into build/deb (make deb)
#   packaging/build_deb.sh --working-tree INTO    of the files as they are now, into INTO (the VM lab)
# Two builds of one commit are the same to the byte: every date in them is the commit's.
set -euo pipefail
cd "$(dirname "$0")/.."
into=build/deb
if [ "${1-}" = --working-tree ]; then into=$2; fi
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' fencer/__init__.py)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
tree=$into/fence-halvm-$version
rm -rf "$into"
mkdir -p "$tree"
if [ "${1-}" = --working-tree ]; then
  git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -T - -c | tar -x -C "$tree"
else
  git archive HEAD | tar -x -C "$tree"
fi
cp -r packaging/debian "$tree/debian"
rm "$tree/debian/host-packages.txt"
cat >"$tree/debian/changelog" <<END
fence-halvm ($version) unstable; urgency=medium

  * Release $version; see CHANGELOG.md.

 -- $(sed -n 's/^Maintainer: //p' packaging/debian/control)  $(date -uRd "@$SOURCE_DATE_EPOCH")
END
cd "$tree"
dpkg-buildpackage --no-sign --build=binary -d >../build.log 2>&1 || { tail -n 30 ../build.log >&2; exit 1; }
cd ..
ls -l ./*.deb
