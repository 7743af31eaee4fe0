# SPDX-License-Identifier: Apache-2.0
"""Real peers on this machine: private, on free ports, gone afterwards."""

import os
import shutil
import socket
from pathlib import Path

import pytest


def require_program(name: str, package: str) -> str:
    """The program's path. Where it is missing: the test fails in CI (environment CI=true), else it is skipped."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is not None:
        return path
    reason = f"{name} is missing: apt install {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def require_library(package: str, *sonames: str) -> None:
    """The same for a shared library, under one of its names."""
    directories = (Path("/usr/lib/x86_64-linux-gnu"), Path("/usr/lib64"))
    if any((directory / soname).exists() for directory in directories for soname in sonames):
        return
    reason = f"{sonames[0]} is missing: apt install {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that no program listens on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port
