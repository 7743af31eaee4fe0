# SPDX-License-Identifier: Apache-2.0
"""Commented hex captures under fixtures/: what a real target sent, or what SPC-4 says it sends."""

from pathlib import Path

DIRECTORY = Path(__file__).parent / "fixtures"


def capture(name: str) -> bytes:
    """The bytes of fixtures/name.hex; ``#`` starts a comment."""
    lines = (DIRECTORY / f"{name}.hex").read_text(encoding="ascii").splitlines()
    return bytes.fromhex(" ".join(line.partition("#")[0] for line in lines))


def names() -> list[str]:
    """All of them."""
    return sorted(path.stem for path in DIRECTORY.glob("*.hex"))
