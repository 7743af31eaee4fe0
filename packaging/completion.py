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
    DIRECTORY = "directory"
    VALUE = "value"


class Flag(NamedTuple):
    """One option of a program. choices: all values that there are, or () where the value is free."""

    names: tuple[str, ...]
    argument: Argument
    choices: tuple[str, ...]
    text: str
    repeated: bool = False


class Word(NamedTuple):
    """A word that says what the program does, and the options that may follow it."""

    name: str
    text: str
    flags: tuple[Flag, ...]


class Program(NamedTuple):
    """A program's command line. flags: where there are words, those that may stand before the word."""

    name: str
    flags: tuple[Flag, ...]
    words: tuple[Word, ...] = ()


_ARGUMENTS = {
    **dict.fromkeys(("debug_file", "password_script", "cluster_conf", "devices", "journal"), Argument.FILE),
    "state_dir": Argument.DIRECTORY,
}
"""What is on the disk, by the names of the agent's options."""


def agent() -> Program:
    """fence_halvm, by its table of options."""
    rows = sorted((row for row in OPTIONS if row.effect is Effect.USED), key=lambda row: (row.order, row.name))
    return Program("fence_halvm", tuple(_agent_flag(row) for row in rows))


def _agent_flag(row: Option) -> Flag:
    names = (f"-{row.letter}",) if row.letter else ()
    argument = _ARGUMENTS.get(row.name, Argument.VALUE) if row.argument else Argument.NONE
    choices = ACTIONS if row.name == "action" else row.choices if row.kind is ValueKind.SELECT else ()
    return Flag((*names, f"--{row.long}"), argument, choices, row.short_description, row.name == "verbose")


def parsed(name: str, parser: argparse.ArgumentParser) -> Program:
    """A program by its argparse parser."""
    words: list[Word] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {word.dest: word.help or "" for word in action._choices_actions}
            words += [Word(word, texts[word], _parsed_flags(one)) for word, one in action.choices.items()]
    return Program(name, _parsed_flags(parser), tuple(words))


def _parsed_flags(parser: argparse.ArgumentParser) -> tuple[Flag, ...]:
    shown = (action for action in parser._actions if action.option_strings and action.help != argparse.SUPPRESS)
    return tuple(_parsed_flag(action) for action in shown)


def _parsed_flag(action: argparse.Action) -> Flag:
    if action.nargs == 0:
        argument = Argument.NONE
    else:
        argument = Argument.FILE if action.metavar in ("FILE", "PATH") else Argument.VALUE
    text = (action.help or "") % {"default": action.default}
    repeated = isinstance(action, argparse._AppendAction)
    return Flag(tuple(action.option_strings), argument, tuple(map(str, action.choices or ())), text, repeated)


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
    every_flag = {
        flag.names: flag for flags in (program.flags, *(word.flags for word in program.words)) for flag in flags
    }
    lines = [
        f"# bash completion of {program.name}. Written by packaging/completion.py.",
        f"{function}()",
        "{",
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}",
        "    # bash takes --name=value apart at the sign",
        '    if [[ $cur == "=" ]]; then cur=""; elif [[ $prev == "=" ]]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi',
        "    COMPREPLY=()",
        "    case $prev in",
        *_bash_cases(every_flag.values()),
        "    esac",
        f'    local offered="{" ".join([*_typed(program.flags), *(word.name for word in program.words)])}"',
        *_bash_words(program.words),
        '    mapfile -t COMPREPLY < <(compgen -W "$offered" -- "$cur")',
        "    if [[ ${COMPREPLY[0]-} == *= ]]; then compopt -o nospace; fi",
        "}",
        f"complete -F {function} {program.name}",
    ]
    return "\n".join(lines) + "\n"


def _typed(flags: Iterable[Flag]) -> Iterator[str]:
    """The long names, with the sign that a value follows."""
    for flag in flags:
        sign = "" if flag.argument is Argument.NONE else "="
        yield from (name + sign for name in flag.names if name.startswith("--"))


def _bash_words(words: Iterable[Word]) -> Iterator[str]:
    """What is offered behind each word: its own options, and no second word."""
    if not words:
        return
    yield "    local typed"
    yield '    for typed in "${COMP_WORDS[@]:1:COMP_CWORD - 1}"; do'
    yield "        case $typed in"
    for word in words:
        yield f'            {word.name}) offered="{" ".join(_typed(word.flags))}"; break ;;'
    yield "        esac"
    yield "    done"


def _bash_cases(flags: Iterable[Flag]) -> Iterator[str]:
    free: list[str] = []
    on_disk = {Argument.FILE: "-f", Argument.DIRECTORY: "-d"}
    for flag in flags:
        names = "|".join(flag.names)
        if flag.choices:
            yield f'        {names}) mapfile -t COMPREPLY < <(compgen -W "{" ".join(flag.choices)}" -- "$cur")'
            yield "            return ;;"
        elif flag.argument in on_disk:
            yield f'        {names}) mapfile -t COMPREPLY < <(compgen {on_disk[flag.argument]} -- "$cur")'
            yield "            compopt -o filenames; return ;;"
        elif flag.argument is Argument.VALUE:
            free += flag.names
    if free:
        yield f"        {'|'.join(free)}) return ;;"


# --- zsh --------------------------------------------------------------------------------------------------------------


def zsh(program: Program) -> str:
    """A completion for zsh, by _arguments."""
    lines = [f"#compdef {program.name}", f"# zsh completion of {program.name}. Written by packaging/completion.py."]
    if not program.words:
        return "\n".join([*lines, *_zsh_arguments("-s", program.flags)]) + "\n"
    words = " ".join(f'{word.name}\\:"{_quoted(word.text)}"' for word in program.words)
    lines += ["local context state state_descr line ret=1", "typeset -A opt_args"]
    # No option of the program stands behind a word.
    lines += [*_zsh_arguments("-s -C -A '-*'", program.flags, f"'1:word:(({words}))'", "'*::option:->word'")]
    lines[-1] += " && ret=0"
    lines += ["[[ $state == word ]] && case $words[1] in"]
    for word in program.words:
        lines += [f"    {word.name})", *("    " + line for line in _zsh_arguments("-s", word.flags))]
        lines[-1] += " && ret=0 ;;"
    return "\n".join([*lines, "esac", "return ret"]) + "\n"


def _zsh_arguments(how: str, flags: Iterable[Flag], *more: str) -> list[str]:
    """The lines of one call."""
    specs = [*(_zsh_flag(flag) for flag in flags), *more]
    return [f"_arguments {how} \\", *(f"    {spec} \\" for spec in specs[:-1]), f"    {specs[-1]}"]


def _zsh_flag(flag: Flag) -> str:
    match flag:
        case Flag(choices=(_, *_)):
            value = f":value:({' '.join(flag.choices)})"
        case Flag(argument=Argument.FILE):
            value = ":file:_files"
        case Flag(argument=Argument.DIRECTORY):
            value = ":directory:_files -/"
        case Flag(argument=Argument.VALUE):
            value = ":value:"
        case _:
            value = ""
    text = f"[{_quoted(flag.text)}]"
    exclusive = "'*'" if flag.repeated else f"'({' '.join(flag.names)})'" if len(flag.names) > 1 else ""
    names = [_zsh_name(name, bool(value)) for name in flag.names]
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
