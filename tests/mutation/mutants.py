# SPDX-License-Identifier: Apache-2.0
"""Prints the mutants of one source file, as JSON lines; run by the interpreter that has cosmic-ray.

    PYTHON tests/mutation/mutants.py SOURCE

Each line: {"operator", "occurrence", "row", "code"}, the code whole. Sorted by row and operator, so each run is alike.
"""

import json
import sys
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

NO_OTHER = ("Eq", "NotEq", "Lt", "LtE", "Gt", "GtE")
NOISE = {
    *(f"core/ReplaceComparisonOperator_{tested}_{other}" for tested in ("Is", "IsNot") for other in NO_OTHER),
}
"""An order between members of an enum, or None, that have none; ``is`` for ``is not`` is tried."""


def is_noise(operator: str) -> bool:
    """``|`` stands in type annotations; the few unions of sets beside them are left out with these."""
    return operator in NOISE or "BinaryOperator_BitOr_" in operator or operator.endswith("_BitOr")


def main() -> None:
    source = Path(sys.argv[1]).read_text()
    nodes = list(ast_nodes(get_ast(source)))
    found = []
    for name in operator_names():
        operator_class = get_operator(name)
        if operator_class.arguments() or is_noise(name):
            continue
        operator = operator_class()
        positions = (position for node in nodes for position in operator.mutation_positions(node))
        found += [(start[0], start[1], name, occurrence) for occurrence, (start, _) in enumerate(positions)]
    for row, _, name, occurrence in sorted(found):
        code = mutate_code(source, get_operator(name)(), occurrence)
        if code is not None and code != source:
            print(json.dumps({"operator": name, "occurrence": occurrence, "row": row, "code": code}))


if __name__ == "__main__":
    main()
