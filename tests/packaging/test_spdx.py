# SPDX-License-Identifier: Apache-2.0
"""The licence's line: where it goes, and that it is LICENSE's."""

import importlib.util
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("spdx", PROJECT / "packaging/spdx.py")
assert _spec is not None
assert _spec.loader is not None
spdx = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(spdx)


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ('"""A module."""\n', f'{spdx.LINE}\n"""A module."""\n'),
        ("#!/bin/sh\nexit 0\n", f"#!/bin/sh\n{spdx.LINE}\nexit 0\n"),
        (f"{spdx.LINE}\nx = 1\n", f"{spdx.LINE}\nx = 1\n"),
        (f"#!/bin/sh\n{spdx.LINE}\nexit 0\n", f"#!/bin/sh\n{spdx.LINE}\nexit 0\n"),
    ],
)
def test_where_the_line_goes(text: str, changed: str) -> None:
    assert spdx.with_line(text) == changed


def test_c_has_its_own_comment() -> None:
    changed = spdx.with_line("int x;\n", ".c")
    assert changed == "// SPDX-License-Identifier: Apache-2.0\nint x;\n"
    assert spdx.with_line(changed, ".c") == changed


def test_it_names_the_project_s_licence() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert f"# SPDX-License-Identifier: {project['license']}" == spdx.LINE
    assert "Apache License" in (PROJECT / "LICENSE").read_text()[:200]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("fencer/model.py", True),
        ("agents/fence_halvm.py", True),
        ("Makefile", True),
        ("packaging/release.sh", True),
        ("packaging/debian/fence-halvm.prerm", True),
        ("benchmarks/sidecar_disks.c", True),
        ("tests/rig/chassis_hook", True),
        ("README.md", False),
        ("packaging/completions/fence_halvm.bash", False),
        ("tests/contract/golden/help.txt", False),
    ],
)
def test_what_is_a_source_file(path: str, source: bool) -> None:
    assert spdx.is_source(path) is source


def test_each_source_file_has_the_line() -> None:
    sources = spdx.sources()
    assert {".py", ".sh", ".c", ".prerm", ""} <= {path.suffix for path in sources}
    without = [path for path in sources if spdx.with_line(path.read_text(), path.suffix) != path.read_text()]
    assert without == []
