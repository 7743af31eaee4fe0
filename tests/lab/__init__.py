# SPDX-License-Identifier: Apache-2.0
"""The project's VM lab: real kernels, real SCSI disks and reservations, real resets (docs/lab.md)."""
