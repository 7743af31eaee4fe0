"""The observing process: paths and registrations, one thread for each that may hang."""
