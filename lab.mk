# SPDX-License-Identifier: Apache-2.0
# The VM lab (docs/lab.md). Included by the Makefile.
PYTHON ?= .venv/bin/python

# Sets of virtual machines that run at a time. Each keeps about one core busy; the largest takes 1.3 GB.
LAB_WORKERS ?= 2
LAB_TESTS := $(PYTHON) -m pytest -q -n $(LAB_WORKERS) --dist loadfile --no-loadscope-reorder --durations=20

# Plays the tests that $(1) selects, of $(2) or of all. What fails is told, and played once more, alone: an emulated
# machine can lose its processor for seconds to its neighbour. What fails again fails.
define lab-tests
	@$(LAB_TESTS) $(or $(2),tests/lab) -m $(1) || { \
	  echo "FAILED ONCE, played again alone; to be looked into all the same:"; \
	  $(PYTHON) -m pytest -q $(or $(2),tests/lab) -m $(1) --last-failed --last-failed-no-failures none; }
endef

.PHONY: lab-packages
lab-packages:
	$(call debian-packages,tests/lab/host-packages.txt)

.PHONY: lab
lab: .venv/stamp lab-packages  ## build and cache images and snapshots of the VM lab
	$(PYTHON) -m tests.lab prepare

.PHONY: lab-shell
lab-shell: .venv/stamp  ## a shell in a guest: NODE=serv-0001, serv-0002, storage or level2
	@$(PYTHON) -m tests.lab shell $(or $(NODE),serv-0001)

.PHONY: lab-clean
lab-clean: .venv/stamp  ## remove everything that the lab built, caches included
	$(PYTHON) -m tests.lab clean

.PHONY: test-lab
test-lab: lab  ## the tests in the VM lab, one of each kind
	$(call lab-tests,'not long')

.PHONY: test-core
test-core: lab  ## of these what make test plays
	$(call lab-tests,'core and not long')

.PHONY: test-lab-long
test-lab-long: lab  ## the tests in the VM lab that repeat others with further values
	$(call lab-tests,long)

# Trials: many repetitions with random moments. Of each, the tests play a few. Results: docs/results.md.

.PHONY: race-lab
race-lab: lab  ## two nodes fence each other on LIO, RACES times (100), with the default ranks; goes on where it was interrupted
	$(PYTHON) -m tests.lab.race --count $(or $(RACES),100)

.PHONY: oracle
oracle: lab  ## FENCES (56) under load with random faults on LIO, SEED (1); goes on where it was interrupted
	$(PYTHON) -m tests.lab.oracle_trials --count $(or $(FENCES),56) --seed $(SEED)

.PHONY: race-real
race-real: lab  ## two nodes fence each other with real power, RACES times (10)
	$(PYTHON) -m tests.lab.level3_trials race $(or $(RACES),10)

.PHONY: race-real-peer
race-real-peer: lab  ## the same by fence_ipmilan
	$(PYTHON) -m tests.lab.level3_trials peer-race $(or $(RACES),10)

.PHONY: oracle-real
oracle-real: lab  ## FENCES (10) under load with random faults and real power
	$(PYTHON) -m tests.lab.level3_trials oracle $(or $(FENCES),10)

.PHONY: time-real
time-real: lab  ## from the call to the victim's last write, beside fence_ipmilan and fence_scsi
	$(PYTHON) -m tests.lab.level3_trials time $(or $(FENCES),3)

.PHONY: failover-picture
failover-picture: lab  ## play a failover of the whole cluster under Prometheus: docs/failover.png, docs/status-page-*.png
	.venv/bin/pip install --quiet --disable-pip-version-check -e '.[plot]'
	$(PYTHON) -m tests.lab.failover_picture docs

# The sidecar with a real watchdog. Results: docs/results.md, docs/comparison-watchdog.md.
WATCHDOG_TRIALS := $(PYTHON) -m tests.lab.watchdog_trials

.PHONY: watchdog-resets
watchdog-resets: lab  ## the sidecar resets its node after each loss, RESETS times (10): how long that takes
	$(WATCHDOG_TRIALS) resets --count $(or $(RESETS),10)

.PHONY: watchdog-soak
watchdog-soak: lab  ## the sidecar under stress-ng for SECONDS (1200)
	$(WATCHDOG_TRIALS) soak --seconds $(or $(SECONDS),1200)

.PHONY: watchdog-cost
watchdog-cost: lab  ## what the sidecar uses with 1, 8 and 64 LUNs, beside sbd
	$(WATCHDOG_TRIALS) cost

.PHONY: watchdog-peers
watchdog-peers: lab  ## the same losses under sbd and watchdog(8), RESETS times (2)
	$(WATCHDOG_TRIALS) peers --count $(or $(RESETS),2)

.PHONY: watchdog-devices
watchdog-devices: lab  ## i6300esb, softdog and ipmi_watchdog, each once
	$(WATCHDOG_TRIALS) devices

# The whole cluster of docs/ha-lvm.md.
LEVEL4_TRIALS := $(PYTHON) -m tests.lab.level4_trials
RESULTS ?= build/level4

.PHONY: failovers
failovers: lab  ## FAILOVERS (20) of the article's cluster, of each kind in turn; goes on where it was interrupted
	mkdir -p $(RESULTS)
	$(LEVEL4_TRIALS) failovers $(or $(FAILOVERS),20) $(RESULTS)/failovers.jsonl

.PHONY: failovers-random
failovers-random: lab  ## FAILOVERS (100), each of a kind and at a moment by SEED (1); goes on where it was interrupted; draws them
	mkdir -p $(RESULTS)
	.venv/bin/pip install --quiet --disable-pip-version-check -e '.[plot]'
	$(LEVEL4_TRIALS) failovers $(or $(FAILOVERS),100) $(RESULTS)/failovers-$(SEED).jsonl --seed $(SEED)
	$(PYTHON) -m tests.lab.failovers_plot $(RESULTS)/failovers-$(SEED).jsonl $(RESULTS)/failovers.png

.PHONY: failovers-peers
failovers-peers: lab  ## the same power down under fence_halvm, fence_ipmilan and fence_scsi, FAILOVERS (5) times each
	mkdir -p $(RESULTS)
	$(LEVEL4_TRIALS) compare $(or $(FAILOVERS),5) $(RESULTS)/compare.jsonl

.PHONY: monitor-cost
monitor-cost: lab  ## processor time of a monitor in a node, beside fence_ipmilan's and fence_scsi's, ROUNDS (5) times in turns
	$(PYTHON) -m tests.lab.monitor_cost $(or $(ROUNDS),5)

# The same cluster on Debian 13. Its images and snapshots are below .lab/trixie.
lab-debian13 test-debian13 test-debian13-core: export FENCE_HALVM_LAB_SUITE := trixie
LEVEL4_TESTS := tests/lab/test_recipe.py tests/lab/test_level4_failover.py

.PHONY: lab-debian13
lab-debian13: .venv/stamp lab-packages
	$(PYTHON) -m tests.lab prepare --only level3

.PHONY: test-debian13-core
test-debian13-core: lab-debian13  ## level 4 on Debian 13: start and power down, and what its pcs makes of the page
	$(call lab-tests,'not long',$(LEVEL4_TESTS) -k 'recipe or unfenced or power')

.PHONY: test-debian13
test-debian13: lab-debian13  ## level 4 on Debian 13 in each kind of trouble
	$(call lab-tests,'long or not long',$(LEVEL4_TESTS))

# FENCE_HALVM_LAB_SUITE=trixie make test-recipe: on Debian 13.
.PHONY: test-recipe
test-recipe: .venv/stamp lab-packages  ## docs/ha-lvm.md word for word on guests that have nothing of it, apt-get included; half an hour
	$(PYTHON) -m tests.lab.fresh
	$(PYTHON) -m pytest -q -s tests/lab/test_recipe_fresh.py
