"""fence-halvm: fence a node of a shared-disk cluster through its BMC and its SCSI-3 reservation, on proof."""

__version__ = "0.1.0"
