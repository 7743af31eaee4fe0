# SPDX-License-Identifier: Apache-2.0
# Packages for distributions. Included by the Makefile.

.PHONY: deb
deb:  ## both .deb packages of the committed tree, into build/deb, checked by lintian
	$(call debian-packages,packaging/debian/host-packages.txt)
	packaging/build_deb.sh
	cd build/deb && lintian --fail-on error,warning --tag-display-limit 0 *.changes

.PHONY: rpm
rpm:  ## source .rpm and .rpm packages of the committed tree, into build/rpm, checked by rpmlint
	$(call debian-packages,packaging/rpm/host-packages.txt)
	packaging/build_rpm.sh
	rpmlint --config packaging/rpm/rpmlint.toml build/rpm/*/*.rpm build/rpm/RPMS/noarch/*.rpm build/rpm/SPECS/*.spec

.PHONY: test-rpm
test-rpm: rpm  ## the .rpm packages over this system in a mount namespace: files, scriptlets, upgrade, removal (as root)
	tests/packaging/in_rpm.sh

.PHONY: bundle
bundle: venv  ## wheels of the programs and all that they need, with hashes, for machines without a network
	$(PYTHON) packaging/build_bundle.py

.PHONY: test-bundle
test-bundle: bundle  ## the bundle's own INSTALL, word for word, without a network (as root)
	tests/packaging/in_bundle.sh

.PHONY: release
release: venv  ## packages, bundle, wheel and source with checksums, built twice and compared, into build/release
	$(call debian-packages,packaging/debian/host-packages.txt packaging/rpm/host-packages.txt)
	packaging/release.sh

.PHONY: test-readme
test-readme: venv  ## README.md's commands, word for word, in a fresh minimal Debian of each of SUITES (as root)
	$(call debian-packages,tests/lab/host-packages.txt)
	@mirror=$$($(PYTHON) -c 'from tests.lab.images import host_mirror; print(host_mirror())'); \
	for suite in $(SUITES); do $(PYTHON) -m tests.packaging.readme $$suite $$mirror; done

SUITES ?= bookworm trixie
.PHONY: test-deb
test-deb: venv deb  ## the .deb packages in a fresh minimal Debian of each of SUITES: install, use, upgrade, purge (as root)
	$(call debian-packages,tests/lab/host-packages.txt)
	@mirror=$$($(PYTHON) -c 'from tests.lab.images import host_mirror; print(host_mirror())'); \
	for suite in $(SUITES); do tests/packaging/in_debian.sh $$suite $$mirror; done

# What the next Debian has: its Python, the one that it has beside it, and its own libraries.
NEXT ?= 3.14 3.15 distribution
.PHONY: test-forky
test-forky: venv  ## this host's tests in a minimal Debian 14 to be, with each of NEXT: its Pythons, its libraries (as root)
	$(call debian-packages,tests/lab/host-packages.txt)
	for what in $(NEXT); do \
	  $(PYTHON) -m tests.next_debian $$what -m 'not lab' -n $(WORKERS) --dist worksteal; done
