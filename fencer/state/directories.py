# SPDX-License-Identifier: Apache-2.0
"""Where this project keeps its state on a node."""

import os

STATE_DIR = "/run/fence-halvm"
"""Emptied by a reboot."""

PERSISTENT_DIR = "/var/lib/fence-halvm"


def persistent_directory(state_dir: str) -> str:
    """Where files are kept that must survive a reboot: in state_dir, where one of its own was given."""
    return PERSISTENT_DIR if state_dir == STATE_DIR else state_dir


def fenced_record(persistent_dir: str) -> str:
    """The file of the record that this node was fenced (fencer.storage.fenced_record)."""
    return os.path.join(persistent_dir, "fenced.json")
