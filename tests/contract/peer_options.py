# SPDX-License-Identifier: Apache-2.0
"""What a peer's metadata says about its options: read from the installed peer, or from the copy of 4.12.1 kept here."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from lxml import etree

GOLDEN = Path(__file__).parent / "golden"
PEER_VERSION = "4.12.1"


class PeerOption(NamedTuple):
    name: str
    mixed: str
    type: str
    default: str | None
    choices: tuple[str, ...]
    history: str  # "deprecated", "obsoletes NAME" or ""

    @property
    def flags(self) -> tuple[str, ...]:
        """The spellings on the command line, without a value's placeholder: ("-a", "--ip")."""
        return tuple(word.partition("=")[0] for word in self.mixed.split(", "))


def needs(program: str) -> str:
    """The path of ``program``; skips the test where it is missing, and fails it in CI."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{program} is not installed")
    return path


def metadata_of(agent: str) -> bytes:
    return subprocess.run([needs(agent), "-o", "metadata"], capture_output=True, check=True, timeout=120).stdout


def installed_version() -> str:
    done = subprocess.run([needs("fence_ipmilan"), "-V"], capture_output=True, check=True, text=True, timeout=120)
    return done.stdout.strip()


def read_metadata(xml: bytes) -> list[PeerOption]:
    options = []
    for parameter in etree.fromstring(xml).iter("parameter"):
        content = parameter.find("content")
        history = "deprecated" if parameter.get("deprecated") == "1" else ""
        if parameter.get("obsoletes"):
            history = f"obsoletes {parameter.get('obsoletes')}"
        options.append(
            PeerOption(
                parameter.get("name"),
                parameter.find("getopt").get("mixed"),
                content.get("type"),
                content.get("default"),
                tuple(choice.get("value") for choice in content.findall("option")),
                history,
            )
        )
    return options


def kept(agent: str) -> list[PeerOption]:
    """The copy: an option a line, fields separated by tabs. Made by ``python tests/contract/peer_options.py AGENT``."""
    rows = []
    for line in (GOLDEN / f"{agent}-{PEER_VERSION}.options").read_text().splitlines():
        name, mixed, kind, default, choices, history = line.split("\t")
        words = tuple(choices.split("|")) if choices else ()
        rows.append(PeerOption(name, mixed, kind, None if default == "-" else default, words, history))
    return rows


def as_line(option: PeerOption) -> str:
    default = "-" if option.default is None else option.default
    fields = (option.name, option.mixed, option.type, default, "|".join(option.choices), option.history)
    return "\t".join(fields)


if __name__ == "__main__":
    import sys

    for row in read_metadata(metadata_of(sys.argv[1])):
        print(as_line(row))
