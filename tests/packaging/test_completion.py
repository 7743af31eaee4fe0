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
NO_SPACE = ("-o", "nospace")
FILE_NAMES = ("-o", "filenames")
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
    """What bash offers for the last word, of words as bash takes them apart (``--name``, ``=``, ``value``).

    With it, as words: how bash shall take them (``-o nospace``, ``-o filenames``).
    """
    script = f"""
        compopt() {{ asked+="$*"; }}
        source {COMPLETIONS}/{program}.bash
        COMP_WORDS=({program} {" ".join(words)}) COMP_CWORD={len(words)}
        $(complete -p {program} | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        printf '%s\\n' "${{COMPREPLY[@]}}" "$asked"
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
        (("fence_halvm", "--reserv"), {"--reservation-type=", *NO_SPACE}),
        (("fence_halvm", "--proof", "=", "s"), {"storage", "self"}),
        (("fence_halvm", "--ip", "=", "1"), set()),
        (("halvm-watchdogd", "pau"), {"pause"}),
        (("halvm-watchdogd", "--check"), {"--check-config"}),
        (("halvmctl", "che"), {"check"}),
        (("halvmctl", "check", "--corosync"), {"--corosync-conf=", *NO_SPACE}),
        (("halvm-exporter", "--web.c"), {"--web.config.file=", *NO_SPACE}),
        (("halvm-watchdogd", "pause", "--f"), {"--for=", *NO_SPACE}),
        # what the program would refuse: another word's option, an option before its word, a second word
        (("halvm-watchdogd", "status", "--f"), set()),
        (("halvmctl", "status", "--ci"), set()),
        (("halvmctl", "--js"), set()),
        (("halvmctl", "check", "st"), set()),
    ],
)
def test_bash_offers(words, expected):
    found = offered(*words)
    assert expected <= found if len(expected) > 3 else found == expected


def test_bash_offers_files_where_a_file_is_wanted(tmp_path):
    """As names of files, so that bash puts no space behind a directory's name."""
    (tmp_path / "bmc-password").touch()
    (tmp_path / "by-id").mkdir()
    assert offered("fence_halvm", "-S", f"{tmp_path}/bmc") == {f"{tmp_path}/bmc-password", *FILE_NAMES}
    assert offered("fence_halvm", "-d", f"{tmp_path}/by") == {f"{tmp_path}/by-id", *FILE_NAMES}
    assert offered("fence_halvm", "--state-dir", "=", f"{tmp_path}/b") == {f"{tmp_path}/by-id", *FILE_NAMES}


def specifications(program: str, *words: str) -> list[str]:
    """What zsh hands to _arguments, which in a completion does the rest. words: typed so far, behind the program."""
    zsh = shutil.which("zsh")
    assert zsh, "install zsh: tests/host-packages.txt"
    stub = f"_arguments() {{ print -rl -- $@; [[ $2 != -C ]] || state=word }}; words=({' '.join(words)})"
    command = [zsh, "-f", "-c", f"{stub}; source {COMPLETIONS / program}.zsh"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert not done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("program", PROGRAMS)
def test_zsh_reads_them(program):
    assert (COMPLETIONS / f"{program}.zsh").read_text().startswith(f"#compdef {program}\n")
    found = specifications(program)
    assert found[0] == "-s"
    assert any(one.startswith(("--version[", "(-V --version)--version[")) for one in found), found
    assert not any("\\n" in one or one.count("[") < 1 for one in found[1:] if one.startswith(("--", "(")))


@pytest.mark.parametrize(
    ("words", "there", "absent"),
    [
        (("halvmctl", "status"), "--vg=[", "--cib=["),
        (("halvmctl", "check"), "--cib=[", "--vg=["),
        (("halvm-watchdogd", "pause"), "--for=[", "--check-config["),
    ],
)
def test_zsh_offers_the_options_of_the_word(words, there, absent):
    program, *typed = words
    of_the_word = specifications(program, *typed)
    of_the_word = of_the_word[of_the_word.index("*::option:->word") + 1 :]
    assert any(there in one for one in of_the_word)
    assert not any(absent in one for one in of_the_word)


def test_zsh_offers_again_what_may_be_repeated():
    found = [one for one in specifications("halvmctl", "check") if one.startswith("*--")]
    assert [one.partition("[")[0] for one in found] == ["*--cluster-conf=", "*--lvm-conf="]
