# SPDX-License-Identifier: Apache-2.0
"""Where the lab keeps what it built and where one run of it lives."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rig.leash import tie_to_this_process

PACKAGE = Path(__file__).resolve().parent
PROJECT = PACKAGE.parents[1]
SUITES = ("bookworm", "trixie")
"""Of Debian, that a guest can have: 12 and 13."""
SUITE = os.environ.get("FENCE_HALVM_LAB_SUITE", SUITES[0])
"""What the guests have in this session."""
if SUITE not in SUITES:
    raise ValueError(f"FENCE_HALVM_LAB_SUITE: invalid value {SUITE!r}: give one of {', '.join(SUITES)}")
_ALL_SUITES = Path(os.environ.get("FENCE_HALVM_LAB", PROJECT / ".lab"))
LAB = _ALL_SUITES / SUITE if SUITES.index(SUITE) else _ALL_SUITES
"""The other suite has a directory of its own: neither prunes what belongs to the other."""
CACHE = LAB / "cache"
_RUN_PREFIX = "halvm-"


def digest(parts: Iterable[str | Path]) -> str:
    """A short hash of texts and of files' contents: the name under which what was built from them is kept."""
    hasher = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode()
        hasher.update(len(content).to_bytes(8, "big") + content)
    return hasher.hexdigest()[:16]


@contextmanager
def published(directory: Path) -> Iterator[Path]:
    """A scratch directory that becomes `directory` in one step when the block ends well, and vanishes otherwise."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    tie_to_this_process(scratch)
    try:
        scratch.chmod(0o755)
        yield scratch
        scratch.rename(directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def locked(what: str = "") -> Iterator[None]:
    """Lets one at a time, process or thread, build this below .lab."""
    LAB.mkdir(parents=True, exist_ok=True)
    with (LAB / f"{what}lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prune(parent: Path, pattern: str, keep: int = 2) -> None:
    """Removes what was built of old inputs, but for the newest: another work in this tree may still use one."""
    built = sorted(parent.glob(pattern), key=lambda path: path.stat().st_mtime)
    for old in built[:-keep]:
        shutil.rmtree(old, ignore_errors=True)


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def new_run_directory() -> Path:
    """A directory for one run: sockets (a path of at most 108 bytes) and disks that are written and thrown away.

    In memory where there is room: a guest's flushes then cost nothing. It goes with this process, however that ends.
    """
    shm = Path("/dev/shm")
    parent = shm if shm.is_dir() and shutil.disk_usage(shm).free > 2 << 30 else Path(tempfile.gettempdir())
    for old in parent.glob(f"{_RUN_PREFIX}*"):
        pid = old.name.removeprefix(_RUN_PREFIX).partition("-")[0]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    run = Path(tempfile.mkdtemp(prefix=f"{_RUN_PREFIX}{os.getpid()}-", dir=parent))
    tie_to_this_process(run)
    return run
