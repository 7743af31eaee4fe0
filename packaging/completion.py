#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the completions of all four programs for bash and zsh, out of the tables and parsers that they run by.

``make texts`` calls it; what it wrote is committed, and a test holds it against the programs.
"""

import argparse
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from fencer.agent.option import Effect, Option, ValueKind
from fencer.agent.options import ACTIONS, OPTIONS
from fencer.ctl.main import arguments as ctl_arguments
from fencer.exporter.main import arguments as exporter_arguments
from fencer.sidecar import commands

DIRECTORY = Path(__file__).resolve().parent / "completions"


class Argument(Enum):
    """What follows a flag."""

    NONE = "none"
    FILE = "file"
    VALUE = "value"


class Flag(NamedTuple):
    """One option of a program. choices: all values that there are, or () where the value is free."""

    names: tuple[str, ...]
    argument: Argument
    choices: tuple[str, ...]
    text: str


class Program(NamedTuple):
    """A program's command line. words: (word, meaning) that may stand where no flag does."""

    name: str
    flags: tuple[Flag, ...]
    words: tuple[tuple[str, str], ...] = ()


_FILES = ("debug_file", "password_script", "cluster_conf", "journal")


def agent() -> Program:
    """fence_halvm, by its table of options."""
    rows = sorted((row for row in OPTIONS if row.effect is Effect.USED), key=lambda row: (row.order, row.name))
    return Program("fence_halvm", tuple(_agent_flag(row) for row in rows))


def _agent_flag(row: Option) -> Flag:
    names = (f"-{row.letter}",) if row.letter else ()
    argument = Argument.NONE if not row.argument else Argument.FILE if row.name in _FILES else Argument.VALUE
    choices = ACTIONS if row.name == "action" else row.choices if row.kind is ValueKind.SELECT else ()
    return Flag((*names, f"--{row.long}"), argument, choices, row.short_description)


def parsed(name: str, parser: argparse.ArgumentParser) -> Program:
    """A program by its argparse parser."""
    flags: dict[tuple[str, ...], Flag] = {}
    words: list[tuple[str, str]] = []
    for one in _parsers(parser):
        for action in one._actions:
            if isinstance(action, argparse._SubParsersAction):
                words += [(word.dest, word.help or "") for word in action._choices_actions]
            elif action.option_strings and action.help != argparse.SUPPRESS:
                flag = _parsed_flag(action)
                flags.setdefault(flag.names, flag)
    return Program(name, tuple(flags.values()), tuple(words))


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def _parsed_flag(action: argparse.Action) -> Flag:
    if action.nargs == 0:
        argument = Argument.NONE
    else:
        argument = Argument.FILE if action.metavar in ("FILE", "PATH") else Argument.VALUE
    text = (action.help or "") % {"default": action.default}
    return Flag(tuple(action.option_strings), argument, tuple(map(str, action.choices or ())), text)


def programs() -> tuple[Program, ...]:
    """All four."""
    return (
        agent(),
        parsed("halvm-watchdogd", commands._parser()),
        parsed("halvmctl", ctl_arguments()),
        parsed("halvm-exporter", exporter_arguments()),
    )


# --- bash -------------------------------------------------------------------------------------------------------------


def bash(program: Program) -> str:
    """A completion for bash; needs nothing of the bash-completion package but its directory."""
    function = "_" + program.name.replace("-", "_")
    offered = [_typed(flag, name) for flag in program.flags for name in flag.names if name.startswith("--")]
    offered += [word for word, _ in program.words]
    lines = [
        f"# bash completion of {program.name}. Written by packaging/completion.py.",
        f"{function}()",
        "{",
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}",
        "    # bash takes --name=value apart at the sign",
        '    if [[ $cur == "=" ]]; then cur=""; elif [[ $prev == "=" ]]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi',
        "    COMPREPLY=()",
        "    case $prev in",
        *_bash_cases(program.flags),
        "    esac",
        f'    mapfile -t COMPREPLY < <(compgen -W "{" ".join(offered)}" -- "$cur")',
        "    if [[ ${COMPREPLY[0]-} == *= ]]; then compopt -o nospace; fi",
        "}",
        f"complete -F {function} {program.name}",
    ]
    return "\n".join(lines) + "\n"


def _typed(flag: Flag, name: str) -> str:
    return name if flag.argument is Argument.NONE else f"{name}="


def _bash_cases(flags: Iterable[Flag]) -> Iterator[str]:
    free: list[str] = []
    for flag in flags:
        names = "|".join(flag.names)
        if flag.choices:
            yield f'        {names}) mapfile -t COMPREPLY < <(compgen -W "{" ".join(flag.choices)}" -- "$cur")'
            yield "            return ;;"
        elif flag.argument is Argument.FILE:
            yield f'        {names}) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;'
        elif flag.argument is Argument.VALUE:
            free += flag.names
    if free:
        yield f"        {'|'.join(free)}) return ;;"


# --- zsh --------------------------------------------------------------------------------------------------------------


def zsh(program: Program) -> str:
    """A completion for zsh, by _arguments."""
    specs = [_zsh_flag(flag) for flag in program.flags]
    if program.words:
        words = " ".join(f'{word}\\:"{_quoted(text)}"' for word, text in program.words)
        specs.append(f"'1:word:(({words}))'")
    body = " \\\n    ".join(specs)
    head = f"#compdef {program.name}\n# zsh completion of {program.name}. Written by packaging/completion.py."
    return f"{head}\n_arguments -s \\\n    {body}\n"


def _zsh_flag(flag: Flag) -> str:
    match flag:
        case Flag(choices=(_, *_)):
            value = f":value:({' '.join(flag.choices)})"
        case Flag(argument=Argument.FILE):
            value = ":file:_files"
        case Flag(argument=Argument.VALUE):
            value = ":value:"
        case _:
            value = ""
    text = f"[{_quoted(flag.text)}]"
    exclusive = f"'({' '.join(flag.names)})'" if len(flag.names) > 1 else ""
    names = ["" + _zsh_name(name, bool(value)) for name in flag.names]
    written = f"{{{','.join(names)}}}" if len(names) > 1 else names[0]
    return f"{exclusive}{written}'{text}{value}'"


def _zsh_name(name: str, takes_value: bool) -> str:
    if not takes_value:
        return name
    return f"{name}=" if name.startswith("--") else f"{name}+"


def _quoted(text: str) -> str:
    """For a description between quotes in a specification."""
    for special in ("\\", "[", "]", ":"):
        text = text.replace(special, f"\\{special}")
    return text.replace("'", "'\\''")


def texts() -> dict[str, str]:
    """Each file's name and content."""
    made: dict[str, str] = {}
    for program in programs():
        made[f"{program.name}.bash"] = bash(program)
        made[f"{program.name}.zsh"] = zsh(program)
    return made


def main() -> None:
    DIRECTORY.mkdir(exist_ok=True)
    for name, text in texts().items():
        (DIRECTORY / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
