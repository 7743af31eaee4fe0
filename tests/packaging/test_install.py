# SPDX-License-Identifier: Apache-2.0
"""The tree that distributions' packages install: whole, private, and started in isolation."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PRIVATE = "usr/share/fence-halvm"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Installed with its private directory in place, so that the launchers find it."""
    root = tmp_path_factory.mktemp("root")
    command = [sys.executable, PROJECT / "packaging/install.py", "--root", root, "--interpreter", sys.executable]
    subprocess.run([*command, "--private", "/" + PRIVATE], check=True, timeout=60)
    for program in (root / "usr/sbin").iterdir():
        text = program.read_text().replace(f'"/{PRIVATE}"', f'"{root / PRIVATE}"')
        program.write_text(text)
    return root


def run(program: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | variables
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=60, env=environment, check=False
    )


def test_every_module_is_there(root):
    source = {path.relative_to(PROJECT) for path in (PROJECT / "fencer").rglob("*.py")}
    assert {path.relative_to(root / PRIVATE) for path in (root / PRIVATE).rglob("*.py")} == source


@pytest.mark.parametrize("program", ["fence_halvm", "halvm-watchdogd", "halvmctl"])
def test_the_programs_start_without_site_packages(root, program):
    """Regular files, as Pacemaker lists agents; --version needs no library."""
    path = root / "usr/sbin" / program
    assert path.is_file()
    assert not path.is_symlink()
    done = run(path, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"\d+\.\d+\.\d+", done.stdout)


def test_pythonpath_means_nothing_to_them(root, tmp_path):
    (tmp_path / "fencer").mkdir()
    (tmp_path / "fencer/__init__.py").write_text("raise SystemExit('another fencer')")
    done = run(root / "usr/sbin/fence_halvm", "-o", "metadata", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0
    assert "<resource-agent" in done.stdout


def test_the_metadata_are_those_of_the_tree(root):
    installed = run(root / "usr/sbin/fence_halvm", "-o", "metadata").stdout
    assert installed == (PROJECT / "tests/contract/golden/metadata.xml").read_text()


def listed(package: str) -> set[str]:
    return set((PROJECT / f"packaging/debian/{package}.install").read_text().split())


def test_the_debian_packages_take_every_file_that_is_installed(root):
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    wanted = listed("fence-halvm") | listed("fence-halvm-exporter")
    assert {file for file in files if not file.startswith(f"{PRIVATE}/")} == wanted - {f"{PRIVATE}/fencer"}


NOT_INSTALLED = {"CONTRIBUTING.md", "docs/README.md"}  # for a clone; the index of the pages has the README's name


def test_the_packages_have_the_pages_that_the_readme_and_the_programs_name():
    readme = (PROJECT / "README.md").read_text()
    code = "".join(path.read_text() for path in (PROJECT / "fencer").rglob("*.py"))
    named = set(re.findall(r"\]\(([\w/-]+\.md)\)", readme)) | set(re.findall(r"(?:see|as) (docs/[\w-]+\.md)", code))
    assert named > {"docs/ha-lvm.md", "docs/journal.md", "docs/exporter.md"}
    documents = (PROJECT / "packaging/debian").glob("*.docs")
    assert named - {word for file in documents for word in file.read_text().split()} <= NOT_INSTALLED
    lines = (PROJECT / "packaging/rpm/fence-halvm.spec").read_text().splitlines()
    assert named - {word for line in lines if line.startswith("%doc ") for word in line.split()} <= NOT_INSTALLED


def test_the_sidecar_is_neither_enabled_nor_started_nor_restarted_by_its_package():
    rules = (PROJECT / "packaging/debian/rules").read_text()
    line = next(line for line in rules.splitlines() if "--name=halvm-watchdogd" in line)
    assert {"--no-enable", "--no-start", "--no-stop-on-upgrade"} <= set(line.split())
    assert "disable halvm-watchdogd.service" in (PROJECT / "packaging/fence-halvm.preset").read_text()
