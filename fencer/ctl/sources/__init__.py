# SPDX-License-Identifier: Apache-2.0
"""Reads the cluster's own programs and files: one data type and one parser for each."""
