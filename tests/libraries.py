# SPDX-License-Identifier: Apache-2.0
"""Prints the versions of the libraries that the programs run on here; fails where they are not the distribution's.

``python -m tests.libraries``, in a virtualenv with the system's packages.
"""

import sys
from importlib import metadata

LIBRARIES = ("pyghmi", "pyudev", "prometheus-client", "h11", "PyYAML", "bcrypt")


def main() -> int:
    elsewhere = []
    for name in LIBRARIES:
        found = metadata.distribution(name)
        directory = str(found.locate_file(""))
        print(f"{name} {found.version} in {directory}")
        if not directory.startswith("/usr/lib/python3"):
            elsewhere.append(name)
    if elsewhere:
        print(f"not the distribution's: {', '.join(elsewhere)}: is its version below what pyproject.toml asks for?")
    return 1 if elsewhere else 0


if __name__ == "__main__":
    sys.exit(main())
