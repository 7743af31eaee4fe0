"""The journal: who fenced whom, when, what proved it. SQLite.

Agents and the sidecar append, each from a process that nobody waits for; ``fence_halvm -o history`` and the exporter
read. Who reads needs no right to write: neither the file nor its directory (docs/journal.md). But
whoever reads can also lock, so only root and the group of the directory may.

- WAL, ``synchronous=FULL``: a record that ``append`` returned from is on the disk, and a crash at any instant leaves
  the journal whole. An event is rare; one sync each is what a self-fence, written just before a reset, needs.
- The file appears whole: it is made under another name and linked into place.
- Its size is bounded for each kind of event, so that monitors, one a minute, never push a fence out. The totals are
  kept in the same transaction: they do not go back when events are dropped.

schema: the tables. writing, reading: events into them and out of them. cleaning: what may stand in a file that
somebody else has made. file: the file, and what can be wrong with it.
"""
