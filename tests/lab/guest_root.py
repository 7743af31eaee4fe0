# SPDX-License-Identifier: Apache-2.0
"""The guests' packages unpacked on the host, where their programs run on the host's processor."""

import shlex
import shutil
import subprocess
from pathlib import Path

from .places import CACHE, locked, published

_INSIDE = """
set -eu
mount -t proc proc {root}/proc
mount --rbind /dev {root}/dev
if [ -n {shown} ]; then mount --bind {shown} {root}/mnt; fi
exec chroot {root} bash -eu -o pipefail -c {commands}
"""


def guest_root() -> Path:
    """The directory of the root file system, unpacked once for each set of packages."""
    (archive,) = CACHE.glob("base-*.tar")
    root = CACHE / f"root-{archive.stem.removeprefix('base-')}"
    with locked("root."):
        if not root.exists():
            for old in CACHE.glob("root-*"):
                shutil.rmtree(old)
            with published(root) as scratch:
                subprocess.run(["tar", "--numeric-owner", "-C", str(scratch), "-xf", str(archive)], check=True)
    return root


def run(commands: str, shown: Path | None = None) -> None:
    """Runs shell commands in it, as root. shown: a directory that they see as /mnt.

    Raises RuntimeError with what they said.
    """
    script = _INSIDE.format(
        root=guest_root(), shown=shlex.quote(str(shown or "")), commands=shlex.quote(f"cd /root\n{commands}")
    )
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}\n{done.stdout}{done.stderr}")
