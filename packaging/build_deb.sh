#!/bin/bash
# Builds both .deb packages of the committed tree into build/deb (make deb). Needs packaging/debian/host-packages.txt.
# Two builds of one commit are the same to the byte: every date in them is the commit's.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' fencer/__init__.py)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
tree=build/deb/fence-halvm-$version
rm -rf build/deb
mkdir -p "$tree"
git archive HEAD | tar -x -C "$tree"
cp -r packaging/debian "$tree/debian"
rm "$tree/debian/host-packages.txt"
cat >"$tree/debian/changelog" <<END
fence-halvm ($version) unstable; urgency=medium

  * Release $version; see CHANGELOG.md.

 -- fence-halvm maintainers <maintainers@fence-halvm.example>  $(date -uRd "@$SOURCE_DATE_EPOCH")
END
cd "$tree"
dpkg-buildpackage --no-sign --build=binary -d >../build.log 2>&1 || { tail -n 30 ../build.log >&2; exit 1; }
cd ..
ls -l ./*.deb
