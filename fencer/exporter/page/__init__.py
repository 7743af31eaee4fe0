"""The page at /: what is wrong in words, LUNs by nodes, paths, watchdog, fences. Pure: readings in, text out."""
