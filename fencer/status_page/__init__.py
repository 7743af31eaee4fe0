"""The page at /: what is wrong in words, LUNs by nodes, paths, watchdog, the last fences. Pure: readings in, text out."""
