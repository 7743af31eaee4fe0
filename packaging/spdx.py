#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts the licence's line at the head of each source file that has none: `make spdx` runs it.

Source files are programs and modules. Data, fixtures, pages and generated texts have no such line: LICENSE covers them.
"""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
LINE = "# SPDX-License-Identifier: Apache-2.0"
SUFFIXES = (".py", ".pyi", ".sh", ".mk", ".c")
NAMES = ("Makefile", "rules", "run")


def is_source(path: str) -> bool:
    """By the file's name, or its first line. An empty module needs none."""
    file = PROJECT / path
    if not file.is_file() or file.stat().st_size == 0:
        return False
    if file.suffix in SUFFIXES or file.name in NAMES:
        return True
    return file.read_bytes()[:2] == b"#!"


def with_line(text: str, suffix: str = "") -> str:
    """The text with the line, behind the line that names the interpreter. suffix: of the file's name. Pure."""
    line = f"//{LINE[1:]}" if suffix == ".c" else LINE
    if line in text.split("\n", 3)[:3]:
        return text
    first, _, rest = text.partition("\n")
    return f"{first}\n{line}\n{rest}" if first.startswith("#!") else f"{line}\n{text}"


def sources() -> list[Path]:
    """All source files of this tree."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [PROJECT / path for path in listed.splitlines() if is_source(path)]


def main() -> None:
    for file in sources():
        if (text := file.read_text()) != (changed := with_line(text, file.suffix)):
            file.write_text(changed)
            sys.stdout.write(f"{file.relative_to(PROJECT)}: added: {LINE}\n")


if __name__ == "__main__":
    main()
