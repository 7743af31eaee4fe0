# SPDX-License-Identifier: Apache-2.0
"""pcs in the guests' root file system, on the host's processor.

`pcs -f FILE` only edits a file. One such command takes 20 s and more on an emulated processor, as it starts Python, and
half a second here. It is the guests' own pcs all the same: from the packages that their image was made of.
"""

import shlex
import shutil
import subprocess
from pathlib import Path

from fencer.agent.metadata import metadata_xml

from .places import CACHE, locked, published

_INSIDE = """
set -eu
mount -t proc proc {root}/proc
mount --rbind /dev {root}/dev
exec chroot {root} bash -eu -o pipefail -c {commands}
"""


def _root() -> Path:
    """The guests' packages, unpacked once. pcs asks the agent for its metadata, and for nothing else."""
    (archive,) = CACHE.glob("base-*.tar")
    root = CACHE / f"root-{archive.stem.removeprefix('base-')}"
    with locked("pcs."):
        if not root.exists():
            for old in CACHE.glob("root-*"):
                shutil.rmtree(old)
            with published(root) as scratch:
                subprocess.run(["tar", "--numeric-owner", "-C", str(scratch), "-xf", str(archive)], check=True)
    return root


def edited(cib: str, name: str, commands: str) -> str:
    """The CIB after the commands, which know it as the file `name`. Raises RuntimeError with what they said."""
    root = _root()
    with locked("pcs."):
        agent, file = root / "usr/sbin/fence_halvm", root / "root" / name
        agent.write_text(f"#!/bin/sh\ncat <<'END'\n{metadata_xml()}\nEND\n")
        agent.chmod(0o755)
        file.write_text(cib)
        script = _INSIDE.format(root=root, commands=shlex.quote(f"cd /root\n{commands}"))
        done = subprocess.run(
            ["unshare", "--mount", "bash", "-c", script],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"pcs: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return file.read_text()
