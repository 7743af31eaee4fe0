# SPDX-License-Identifier: Apache-2.0
"""Chassis power: what a BMC can be asked, and the adapter that asks it."""
