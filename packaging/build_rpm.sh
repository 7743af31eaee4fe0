#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the source .rpm and the .rpm packages of the committed tree into build/rpm (make rpm). Needs
# packaging/rpm/host-packages.txt. On a distribution that has no macros of Fedora's, packaging/rpm/macros.debian stands in
# for them. The .rpm packages are for this machine's version of Python; the source .rpm is for all.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' fencer/__init__.py)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
top=$PWD/build/rpm
rm -rf "$top"
mkdir -p "$top/SOURCES" "$top/SPECS"
git archive --prefix="fence-halvm-$version/" -o "$top/SOURCES/fence-halvm-$version.tar.gz" HEAD
maintainer=$(sed -n 's/^Maintainer: //p' packaging/debian/control)
sed "s/@VERSION@/$version/; s/@MAINTAINER@/$maintainer/" packaging/rpm/fence-halvm.spec >"$top/SPECS/fence-halvm.spec"
touch -d "@$SOURCE_DATE_EPOCH" "$top"/SOURCES/* "$top"/SPECS/*  # the source .rpm has their times
macros=()
if [ -z "$(rpm --eval '%{?_unitdir}')" ]; then
  macros=(--nodeps --load packaging/rpm/macros.debian)
fi
rpmbuild -ba "${macros[@]}" --define "_topdir $top" \
  --define 'use_source_date_epoch_as_buildtime 1' --define 'clamp_mtime_to_source_date_epoch 1' --define '_buildhost localhost' \
  "$top/SPECS/fence-halvm.spec" >"$top/build.log" 2>&1 || { tail -n 30 "$top/build.log" >&2; exit 1; }
ls -l "$top"/*RPMS/*.src.rpm "$top"/RPMS/noarch/*.rpm
