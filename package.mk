# Packages for distributions. Included by the Makefile.

.PHONY: deb
deb:  ## both .deb packages of the committed tree, into build/deb, checked by lintian
	$(call debian-packages,packaging/debian/host-packages.txt)
	packaging/build_deb.sh
	cd build/deb && lintian --fail-on error,warning --tag-display-limit 0 *.changes
