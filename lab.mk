# The VM lab (docs/lab.md). Included by the Makefile.
PYTHON ?= .venv/bin/python

# Sets of virtual machines that run at a time. Each keeps about one core busy; the largest takes 1.3 GB.
LAB_WORKERS ?= 2
LAB_TESTS := $(PYTHON) -m pytest -q tests/lab -n $(LAB_WORKERS) --dist loadfile --no-loadscope-reorder

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
test-lab: lab  ## the tests in the VM lab that CI runs
	$(LAB_TESTS) -m 'not long'

.PHONY: test-lab-long
test-lab-long: lab  ## the tests in the VM lab that repeat others with further values
	$(LAB_TESTS) -m long

# Trials: many repetitions with random moments. Of each, the tests play a few. Results: docs/results.md.

.PHONY: race-lab
race-lab: lab  ## two nodes fence each other on LIO, RACES times (100), with the default ranks
	$(PYTHON) -m tests.lab.race --count $(or $(RACES),100)

.PHONY: oracle
oracle: lab  ## FENCES (50) under load with random faults on LIO; no record of a victim after a success
	$(PYTHON) -m tests.lab.oracle_trials --count $(or $(FENCES),50)

.PHONY: race-real
race-real: lab  ## two nodes fence each other with real power, RACES times (10)
	$(PYTHON) -m tests.lab.level3_trials race $(or $(RACES),10)

.PHONY: oracle-real
oracle-real: lab  ## FENCES (10) under load with random faults and real power
	$(PYTHON) -m tests.lab.level3_trials oracle $(or $(FENCES),10)

.PHONY: time-real
time-real: lab  ## from the call to the victim's last write, beside fence_ipmilan and fence_scsi
	$(PYTHON) -m tests.lab.level3_trials time $(or $(FENCES),3)

.PHONY: failover-picture
failover-picture: lab  ## play a failover under Prometheus and plot it into docs/failover.png
	.venv/bin/pip install --quiet --disable-pip-version-check -e '.[plot]'
	$(PYTHON) -m tests.lab.failover docs/failover.png
