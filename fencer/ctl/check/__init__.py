"""``halvmctl check``."""
