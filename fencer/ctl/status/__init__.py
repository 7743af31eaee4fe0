"""``halvmctl status``."""
