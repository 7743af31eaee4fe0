# SPDX-License-Identifier: Apache-2.0
"""What the storage side must do, against a fake that speaks SCSI and against a real tgtd."""
