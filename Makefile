# SPDX-License-Identifier: Apache-2.0
# The commands of a contributor. CI runs `make test-all`. Needs make and python3-venv, and installs the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON3 ?= /usr/bin/python3
PYTHON := .venv/bin/python
BIN := .venv/bin

.PHONY: help
help:  ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 20

.venv/stamp: pyproject.toml $(wildcard agents/*.py)
	$(PYTHON3) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

.PHONY: venv
venv: .venv/stamp  ## the virtualenv with the programs and the development tools

# Installs what is missing of the packages named in $(1), a list of files with one package a line. Elsewhere than on a Debian
# they are named only: the command that needs one of them says so.
define debian-packages
	@if ! command -v dpkg-query >/dev/null; then \
	  echo "not a Debian: needs what these are called here:" $$(sed -E '/^(#|$$)/d' $(1) | sort -u); exit 0; \
	fi; \
	missing=$$(sed -E '/^(#|$$)/d' $(1) | sort -u | while read -r p; do \
	  dpkg-query -W -f '$${db:Status-Status}\n' "$$p" 2>/dev/null | grep -qx installed || echo "$$p"; done); \
	if [ -n "$$missing" ]; then \
	  echo "installing:" $$missing; \
	  if [ "$$(id -u)" != 0 ]; then echo "run this as root, or install them yourself" >&2; exit 1; fi; \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $$missing >/dev/null; \
	fi
endef

.PHONY: host-packages
host-packages:
	$(call debian-packages,tests/host-packages.txt)

.PHONY: lint
lint: venv  ## ruff, mypy --strict, the package layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache 2>&1 | tail -n 6

# Most of the host's tests wait for something: several at a time on each core.
WORKERS ?= 8
QUICK_WORKERS ?= 4
PYTEST := $(BIN)/pytest -q

# The distribution's own libraries instead of PyPI's newest: the lowest versions that pyproject.toml allows. Hypothesis
# draws fewer examples, and some tests are left out: what they are about calls no library.
CALL_NO_LIBRARY := tests/model tests/decisions tests/journal tests/sidecar/test_simulated_days.py
.venv-distribution/stamp: pyproject.toml $(wildcard agents/*.py) tests/distribution-packages.txt
	$(call debian-packages,tests/distribution-packages.txt)
	$(PYTHON3) -m venv --clear --system-site-packages .venv-distribution
	.venv-distribution/bin/pip install --quiet --disable-pip-version-check -e '.[dev]' 'hatchling>=1.12'
	@touch $@

.PHONY: test-distribution
test-distribution: .venv-distribution/stamp host-packages  ## the tests without virtual machines, with Debian's own libraries
	.venv-distribution/bin/python -m tests.libraries
	.venv-distribution/bin/python -m pytest -q -m 'not lab' --hypothesis-profile=quick -n $(WORKERS) --dist worksteal \
	  $(addprefix --ignore=,$(CALL_NO_LIBRARY))

DAYS ?= 10000
.PHONY: days
days: venv  ## 10,000 random days of the sidecar's policy, and a year on one node: no false self-fence, none missed (a quarter of an hour)
	$(PYTHON) -m tests.sidecar.simulated_day $(DAYS)
	$(PYTHON) -m tests.sidecar.simulated_day year

.PHONY: test-fast
test-fast: venv host-packages  ## lint and the quick tests, under a minute
	@$(MAKE) --no-print-directory lint
	$(PYTEST) -m 'not slow and not lab' --hypothesis-profile=quick -n $(QUICK_WORKERS) --dist worksteal

.PHONY: test-host
test-host: venv host-packages  ## lint and all tests that need no virtual machine
	@$(MAKE) --no-print-directory lint
	$(PYTEST) -m 'not lab' -n $(WORKERS) --dist worksteal

# The lab's images are built meanwhile, where they are not there yet.
.PHONY: test
test: venv host-packages lab-packages  ## lint, all tests without virtual machines, and the core of the VM lab
	@$(MAKE) --no-print-directory -j2 test-host lab
	@$(MAKE) --no-print-directory test-core

.PHONY: test-all
test-all: venv host-packages lab-packages  ## everything that CI runs: lint, all tests, the whole VM lab
	@$(MAKE) --no-print-directory -j3 test-host lab conformance-roots
	@$(MAKE) --no-print-directory -j3 test-distribution conformance lab-debian13
	@$(MAKE) --no-print-directory deb
	@$(MAKE) --no-print-directory test-lab
	@$(MAKE) --no-print-directory test-debian13-core

.PHONY: conformance-roots
conformance-roots: venv lab-packages
	$(PYTHON) -m tests.conformance.debian_root

.PHONY: conformance
conformance: conformance-roots host-packages  ## fence-agents' checks, pcs, crmsh, Pacemaker's fencer and two nodes, Debian 12 and 13 (as root)
	$(PYTEST) tests/conformance -n 4 --dist loadfile

RACES ?=
SEED ?= 1
.PHONY: race
race: venv host-packages  ## two nodes fence each other on tgtd, 500 times and more; RACES=10000: so many of mixed kinds
	$(PYTHON) -m tests.races $(if $(RACES),--trial $(RACES) --seed $(SEED))

MONITORS ?= 1000
.PHONY: monitors
monitors: venv  ## MONITORS (1000) monitors one after the other; none may lose the last message of a worker
	FENCE_HALVM_MONITORS=$(MONITORS) $(PYTEST) tests/agent/test_many_monitors.py

.PHONY: model
model: venv  ## the fence race in every order of events within bounds, by the product's own code; prints the states
	$(PYTHON) -m tests.model

EXAMPLES ?= 2000
.PHONY: interleavings
interleavings: venv  ## fences of two and three nodes in EXAMPLES (2000) random orders of their commands; takes long
	INTERLEAVINGS=$(EXAMPLES) DUELS=$(EXAMPLES) $(PYTEST) tests/decisions/test_interleavings.py \
	  tests/decisions/test_duel.py -n $(WORKERS) --dist worksteal -o timeout=0

MUTATION_SAMPLE ?= 0
MUTATION_JOBS ?= 1
MUTATION_MODULES ?=
MUTATION_MORE ?=
.venv/cosmic-ray/stamp:
	$(PYTHON3) -m venv .venv/cosmic-ray
	.venv/cosmic-ray/bin/pip install --quiet --disable-pip-version-check 'cosmic-ray>=8.3,<9'
	@touch $@

.PHONY: mutation
mutation: venv .venv/cosmic-ray/stamp  ## mutation tests of the modules that decide a fence; hours, see docs/mutation.md
	$(PYTHON) -m tests.mutation --cosmic-ray $(CURDIR)/.venv/cosmic-ray/bin/python \
	  --sample $(MUTATION_SAMPLE) --jobs $(MUTATION_JOBS) $(MUTATION_MORE) $(MUTATION_MODULES)

FUZZ_S ?= 600
.PHONY: fuzz
fuzz: venv  ## fuzz decoders, BMC session, stdin and the readers of files, FUZZ_S (600) seconds each
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	$(PYTHON) -m tests.fuzz.fuzz_pr all -max_total_time=$(FUZZ_S)
	$(PYTHON) -m tests.fuzz.fuzz_stdin -max_total_time=$(FUZZ_S)
	$(PYTHON) -m tests.fuzz.fuzz_rmcp -max_total_time=$(FUZZ_S)
	for reader in cluster_conf corosync_conf web_config snapshot marker kept_event journal; do \
	  $(PYTHON) -m tests.fuzz.fuzz_files $$reader -max_total_time=$(FUZZ_S); done

.PHONY: texts
texts: venv  ## generate man page, docs/options.md, completions, golden help and metadata from the options table
	$(PYTHON) -m fencer.agent.manual man > packaging/fence_halvm.8
	$(PYTHON) -m fencer.agent.manual markdown > docs/options.md
	$(PYTHON) -m fencer.agent.manual help > tests/contract/golden/help.txt
	$(BIN)/fence_halvm -o metadata > tests/contract/golden/metadata.xml
	$(PYTHON) packaging/completion.py

.PHONY: spdx
spdx:  ## put the licence's line at the head of each source file that has none
	$(PYTHON3) packaging/spdx.py

.PHONY: clean
clean:  ## remove everything that make has created, except the images of the VM lab
	rm -rf .venv .venv-distribution .trials .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find . -name __pycache__ -not -path './.lab/*' -prune -exec rm -rf {} +

-include demo.mk
-include lab.mk
-include package.mk
