#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds everything that a release consists of, twice, and compares (make release). Result: build/release with SHA256SUMS.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -n "$(git status --porcelain)" ]; then
  echo "commit first: a release is made of a commit" >&2
  exit 1
fi

build() {
  rm -rf "$1"
  mkdir -p "$1"
  packaging/build_deb.sh >/dev/null
  packaging/build_rpm.sh >/dev/null
  .venv/bin/python packaging/build_bundle.py >/dev/null
  # Of the .rpm packages the source alone: the others are for this machine's version of Python, which is no Fedora's.
  cp build/deb/*.deb build/rpm/SRPMS/*.src.rpm build/bundle/*.tar.gz "$1"
  cp build/bundle/wheels/fence_halvm-*.whl "$1"
  git archive --prefix="fence-halvm-$version/" HEAD | gzip -n >"$1/fence-halvm-$version.tar.gz"
  (cd "$1" && sha256sum -- * >SHA256SUMS)
}

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' fencer/__init__.py)
grep -q "^## $version\b" CHANGELOG.md || echo "CHANGELOG.md has no heading for $version: this is a trial, no release"
build build/release
build build/release-again
diff build/release/SHA256SUMS build/release-again/SHA256SUMS  # a difference ends it here
echo "built twice, the same to the byte:"
cat build/release/SHA256SUMS
