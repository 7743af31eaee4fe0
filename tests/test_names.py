# SPDX-License-Identifier: Apache-2.0
"""Names of classes: a class name stands once in fencer/, so that a search finds the one that is meant."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_a_class_name_stands_once_in_the_programs() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "fencer").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(places) > 100
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
