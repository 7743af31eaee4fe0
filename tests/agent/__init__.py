# SPDX-License-Identifier: Apache-2.0
"""The agent as its callers see it: a process, its exit status, its words, and what it does to a real BMC."""
