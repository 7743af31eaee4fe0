# SPDX-License-Identifier: Apache-2.0
"""pcs in the guests' root file system, on the host's processor.

`pcs -f FILE` only edits a file. One such command takes 20 s and more on an emulated processor, as it starts Python, and
half a second here. It is the guests' own pcs all the same: from the packages that their image was made of.
"""

from fencer.agent.metadata import metadata_xml

from . import guest_root
from .places import locked


def edited(cib: str, name: str, commands: str) -> str:
    """The CIB after the commands, which know it as the file `name`. Raises RuntimeError with what they said."""
    root = guest_root.guest_root()
    with locked("pcs."):
        # pcs asks the agent for its metadata, and for nothing else.
        agent, file = root / "usr/sbin/fence_halvm", root / "root" / name
        agent.write_text(f"#!/bin/sh\ncat <<'END'\n{metadata_xml()}\nEND\n")
        agent.chmod(0o755)
        file.write_text(cib)
        guest_root.run(commands)
        return file.read_text()
