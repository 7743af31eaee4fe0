"""Snapshot and journal as Prometheus metric families. Pure: reads no file, no clock, no device."""
