#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lays the installed tree out for a distribution's package, below a root.

The modules are private (the name ``fencer`` belongs to another project on PyPI). Each program is a regular file, as
Pacemaker wants it, and starts Python isolated and without ``site``: no PYTHONPATH, no user's packages, and some
milliseconds less at each start. So it names the two directories that it needs itself.
"""

import argparse
import ast
import shutil
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1]
PROGRAMS = {
    "agents/fence_halvm.py": "fence_halvm",
    "agents/halvm_watchdogd.py": "halvm-watchdogd",
    "agents/halvmctl.py": "halvmctl",
    "exporters/halvm_exporter.py": "halvm-exporter",
}
"""Source of each thin executable, and its name in sbin."""


def launcher(source: str, interpreter: str, directories: list[str]) -> str:
    """The text of a program: the thin executable's, behind a first line and a module path of its own."""
    docstring = ast.parse(source).body[0]
    lines = source.splitlines()
    head, body = lines[1 : docstring.end_lineno], lines[docstring.end_lineno or 0 :]
    path = ", ".join(f'"{directory}"' for directory in directories)
    return "\n".join([f"#!{interpreter} -IS", *head, "", "import sys", "", f"sys.path += [{path}]", *body, ""])


class Tree:
    """Installs files below a root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def at(self, path: str) -> Path:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def text(self, path: str, content: str, mode: int = 0o644) -> None:
        target = self.at(path)
        target.write_text(content, encoding="utf-8")
        target.chmod(mode)

    def copy(self, source: str, path: str, mode: int = 0o644) -> None:
        target = self.at(path)
        shutil.copyfile(SOURCE / source, target)
        shutil.copystat(SOURCE / source, target)  # the time, too: bytecode remembers it
        target.chmod(mode)


def install(root: Path, private: str, sites: list[str], sbin: str, units: str, interpreter: str, zsh: str) -> None:
    """Everything of both packages, below root. sites: directories of the distribution's Python modules."""
    tree = Tree(root)
    for module in sorted((SOURCE / "fencer").rglob("*.py")):
        tree.copy(str(module.relative_to(SOURCE)), f"{private}/{module.relative_to(SOURCE)}")
    tree.copy("docs/runbook.md", f"{private}/fencer/exporter/page/runbook.md")  # the exporter shows it at /runbook
    for source, name in PROGRAMS.items():
        text = launcher((SOURCE / source).read_text(encoding="utf-8"), interpreter, [private, *sites])
        tree.text(f"{sbin}/{name}", text, 0o755)
    for unit in ("halvm-watchdogd.service", "halvm-watchdogd-storage.service", "halvm-exporter.service"):
        tree.copy(f"packaging/{unit}", f"{units}/{unit}")
    tree.copy("packaging/fence-halvm.preset", f"{Path(units).parent}/system-preset/50-fence-halvm.preset")
    tree.copy("packaging/fence-halvm.tmpfiles", "/usr/lib/tmpfiles.d/fence-halvm.conf")
    tree.copy("packaging/needrestart.conf", "/etc/needrestart/conf.d/fence-halvm.conf")
    for page in ("fence_halvm.8", "halvm-watchdogd.8", "halvmctl.8", "halvm-exporter.8"):
        tree.copy(f"packaging/{page}", f"/usr/share/man/man8/{page}")
    for name in PROGRAMS.values():
        tree.copy(f"packaging/completions/{name}.bash", f"/usr/share/bash-completion/completions/{name}")
        tree.copy(f"packaging/completions/{name}.zsh", f"{zsh}/_{name}")
    tree.at("/etc/fence-halvm/").mkdir(exist_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="below which everything is installed")
    parser.add_argument("--private", default="/usr/share/fence-halvm", help="directory of the modules")
    parser.add_argument("--site", action="append", help="directory of the distribution's Python modules")
    parser.add_argument("--sbin", default="/usr/sbin")
    parser.add_argument("--units", default="/usr/lib/systemd/system")
    parser.add_argument("--interpreter", default="/usr/bin/python3")
    parser.add_argument("--zsh", default="/usr/share/zsh/vendor-completions", help="directory of zsh's completions")
    given = parser.parse_args()
    sites = given.site or ["/usr/lib/python3/dist-packages"]
    install(given.root, given.private, sites, given.sbin, given.units, given.interpreter, given.zsh)


if __name__ == "__main__":
    main()
