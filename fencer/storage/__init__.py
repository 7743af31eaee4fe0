# SPDX-License-Identifier: Apache-2.0
"""Shared storage: SCSI-3 persistent reservations from bytes to verified isolation."""
