# SPDX-License-Identifier: Apache-2.0
# The demo and the benchmarks.

.PHONY: demo
demo: venv  ## a node is fenced for real, on this host, in some 15 s (as root)
	$(call debian-packages,tests/demo/host-packages.txt)
	@$(PYTHON) -m tests.demo

.PHONY: bench
bench: venv  ## the agent beside fence_ipmilan on the same simulated BMC (as root)
	$(call debian-packages,tests/demo/host-packages.txt benchmarks/host-packages.txt)
	@$(PYTHON) -m benchmarks $(BENCH)
