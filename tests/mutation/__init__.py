# SPDX-License-Identifier: Apache-2.0
"""Mutation testing of what decides a fence: see docs/mutation.md."""
