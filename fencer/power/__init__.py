"""Chassis power: what a BMC can be asked, and the adapter that asks it."""
