# The VM lab (docs/lab.md). Included by the Makefile.
PYTHON ?= .venv/bin/python

.PHONY: lab
lab: .venv/stamp  ## build and cache images and snapshots of the VM lab
	$(call debian-packages,tests/lab/host-packages.txt)
	$(PYTHON) -m tests.lab prepare

.PHONY: lab-shell
lab-shell: .venv/stamp  ## a shell in a guest: NODE=serv-0001, serv-0002, storage or level2
	@$(PYTHON) -m tests.lab shell $(or $(NODE),serv-0001)

.PHONY: lab-clean
lab-clean: .venv/stamp  ## remove everything that the lab built, caches included
	$(PYTHON) -m tests.lab clean

.PHONY: test-lab
test-lab: lab  ## the tests that need the VM lab
	$(PYTHON) -m pytest tests/lab
