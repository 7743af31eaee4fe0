# SPDX-License-Identifier: Apache-2.0
"""Tests. Run by pytest; the rigs under tests.rig and tests.lab are also used by the demo and the benchmarks."""
