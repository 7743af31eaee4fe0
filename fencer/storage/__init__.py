"""Shared storage: SCSI-3 persistent reservations from bytes to verified isolation."""
