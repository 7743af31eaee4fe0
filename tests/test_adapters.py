# SPDX-License-Identifier: Apache-2.0
"""Only adapters touch what is outside: each of these libraries is imported by exactly the modules named here."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "fencer"

ADAPTERS = {
    "pyghmi": {"power/pyghmi_session.py"},
    "pyudev": {"storage/block_devices.py"},
    "ctypes": {
        "power/libcrypto.py",
        "sidecar/observer/read_ahead.py",
        "sidecar/realtime.py",
        "sidecar/self_fence.py",
        "storage/libiscsi.py",
        "storage/sgutils.py",
        "storage/shared_library.py",
    },
    "sqlite3": set(),  # its C half alone
    "_sqlite3": {f"journal/{name}.py" for name in ("file", "making", "pending", "reading", "schema", "writing")},
}


def importers(library: str) -> set[str]:
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names):
                    modules = [alias.name for alias in names]
                case ast.ImportFrom(module=str(module), level=0):
                    modules = [module]
                case _:
                    continue
            if any(module.split(".")[0] == library for module in modules):
                found.add(str(path.relative_to(SOURCE)))
    return found


@pytest.mark.parametrize("library", ADAPTERS)
def test_it_is_imported_by_its_adapters_alone(library):
    assert importers(library) == ADAPTERS[library]
