# SPDX-License-Identifier: Apache-2.0
"""The journal: who fenced whom, when, and what proved it. An SQLite database.

Agents and the sidecar append, each from a process of its own that delays no fence. ``fence_halvm -o history`` and the
exporter read. A reader needs no right to write, neither to the file nor to its directory (docs/journal.md). But a
reader can also lock the file, so only root and the group of the directory may read it.

- WAL, ``synchronous=FULL``: when ``append`` returns, the record is on the disk. A crash at any instant leaves the
  journal whole. Events are rare, and a self-fence, written just before a reset, needs the sync.
- The file appears whole: it is made under another name and linked into place.
- Its size is bounded for each kind of event, so that monitors, one a minute, never push a fence out. The totals are
  kept in the same transaction: they do not go back when events are dropped.

schema: the tables. writing, reading: events into them and out of them. cleaning: checks of a file that another program
may have made. file: opens the file and reports its errors.
"""
