# SPDX-License-Identifier: Apache-2.0
"""The whole agent, as a process, against a real target and a real BMC in userspace."""
