# SPDX-License-Identifier: Apache-2.0
"""fence-halvm: fences a node of a shared-disk cluster by BMC power and SCSI-3 reservations, and verifies the result."""

__version__ = "0.1.0"
