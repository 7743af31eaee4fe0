# SPDX-License-Identifier: Apache-2.0
"""A disk that is kept beside a guest's memory reads as that guest's disk did, whatever it lay on."""

import subprocess
from pathlib import Path

import pytest

from .guest import keep_disk, make_disk

pytestmark = pytest.mark.lab
BLOCK = 65536


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _write(disk: Path, block: int, pattern: int) -> None:
    _run("qemu-io", "-f", "qcow2", "-c", f"write -P {pattern} {block * BLOCK} {BLOCK}", disk)


def test_a_disk_is_kept_with_every_layer_above_the_image(tmp_path: Path) -> None:
    """A snapshot of a cluster that was itself restored from a snapshot: the node loses its memory by a power cut."""
    image = tmp_path / "root.ext4"
    image.write_bytes(b"\1" * 8 * BLOCK)
    first, second = tmp_path / "first", tmp_path / "second"
    for run, backing, backing_format, block in (
        (first, image, "raw", 1),
        (second, first / "root.qcow2", "qcow2", 2),
    ):
        run.mkdir()
        make_disk(run, backing, backing_format)
        _write(run / "root.qcow2", block, 10 + block)
    kept = tmp_path / "kept.qcow2"
    keep_disk(second, image, kept)
    _run("qemu-img", "compare", second / "root.qcow2", kept)
    (first / "root.qcow2").unlink()
    _run("qemu-io", "-f", "qcow2", "-c", f"read -P 11 {BLOCK} {BLOCK}", "-c", f"read -P 12 {2 * BLOCK} {BLOCK}", kept)
