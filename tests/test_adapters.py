# SPDX-License-Identifier: Apache-2.0
"""Only adapters touch what is outside: each of these libraries is imported by exactly the modules named here."""

import ast
from pathlib import Path

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


def imported(path: Path) -> set[str]:
    """The libraries that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names):
                found |= {alias.name.partition(".")[0] for alias in names}
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module.partition(".")[0])
    return found


def test_each_is_imported_by_its_adapters_alone() -> None:
    files = {str(path.relative_to(SOURCE)): imported(path) for path in SOURCE.rglob("*.py")}
    importers = {library: {name for name, found in files.items() if library in found} for library in ADAPTERS}
    assert importers == ADAPTERS
