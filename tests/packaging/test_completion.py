# SPDX-License-Identifier: Apache-2.0
"""The shells' completions: as the programs are, and working in a real bash and zsh."""

import importlib.util
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).resolve().parents[2]
COMPLETIONS = PROJECT / "packaging" / "completions"
PROGRAMS = ("fence_halvm", "halvm-watchdogd", "halvmctl", "halvm-exporter")


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("completion", PROJECT / "packaging" / "completion.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_files_are_what_the_programs_say():
    """`make texts` writes them."""
    assert {path.name: path.read_text() for path in COMPLETIONS.iterdir()} == generator().texts()


def offered(program: str, *words: str) -> set[str]:
    """What bash offers for the last word, of words as bash takes them apart (``--name``, ``=``, ``value``)."""
    script = f"""
        compopt() {{ :; }}
        source {COMPLETIONS}/{program}.bash
        COMP_WORDS=({program} {" ".join(words)}) COMP_CWORD={len(words)}
        $(complete -p {program} | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert not done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("fence_halvm", "-o", "mon"), {"monitor"}),
        (("fence_halvm", "--action", "=", "re"), {"reboot"}),
        (("fence_halvm", "--action", "="), {"on", "off", "reboot", "status", "monitor", "list", "diag", "history"}),
        (("fence_halvm", "--reserv"), {"--reservation-type="}),
        (("fence_halvm", "--proof", "=", "s"), {"storage", "self"}),
        (("fence_halvm", "--ip", "=", "1"), set()),
        (("halvm-watchdogd", "pau"), {"pause"}),
        (("halvm-watchdogd", "--check"), {"--check-config"}),
        (("halvmctl", "che"), {"check"}),
        (("halvmctl", "check", "--corosync"), {"--corosync-conf="}),
        (("halvm-exporter", "--web.c"), {"--web.config.file="}),
    ],
)
def test_bash_offers(words, expected):
    found = offered(*words)
    assert expected <= found if len(expected) > 2 else found == expected


def test_bash_offers_files_where_a_file_is_wanted(tmp_path):
    (tmp_path / "bmc-password").touch()
    assert offered("fence_halvm", "-S", f"{tmp_path}/bmc") == {f"{tmp_path}/bmc-password"}


@pytest.mark.parametrize("program", PROGRAMS)
def test_zsh_reads_them(program):
    zsh = shutil.which("zsh")
    assert zsh, "install zsh: tests/host-packages.txt"
    file = COMPLETIONS / f"{program}.zsh"
    assert file.read_text().startswith(f"#compdef {program}\n")
    # In a completion, _arguments gets the specifications; here a function of that name shows how zsh reads them.
    script = f"_arguments() {{ print -rl -- $@ }}; source {file}"
    done = subprocess.run([zsh, "-f", "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert not done.stderr
    specifications = done.stdout.splitlines()
    assert specifications[0] == "-s"
    assert any(one.startswith(("--version[", "(-V --version)--version[")) for one in specifications), specifications
    assert not any("\\n" in one or one.count("[") < 1 for one in specifications[1:] if one.startswith(("-", "(")))
