# SPDX-License-Identifier: Apache-2.0
"""Reads options from argv or stdin as text by canonical name, and checks them. request_builder makes the typed request.

Both readers return only what was given, without defaults, so that cluster.conf can fill the gaps first.
The order is: parse, merge, ``check``, ``with_defaults``. The behaviour follows FenceAgentAPI.md and fence-agents 4.12.1
(``process_input``, ``check_input``). tests/contract/test_peer_difference.py lists the differences.
"""

from collections.abc import Iterator, Mapping, Sequence

from fencer._typing import BinaryIO, Final, NamedTuple
from fencer.agent.command_line import read_command_line
from fencer.agent.option import Effect, Option, ValueKind
from fencer.agent.options import ACTIONS, BY_NAME, OPTIONS
from fencer.errors import UsageError

MAX_STDIN_BYTES: Final = 1 << 20

# fenced does not read our stderr while it waits for us: warnings must stay far below a pipe's 64 KiB.
_MAX_WARNINGS: Final = 20
_MAX_NAME_SHOWN: Final = 40

_TRUE: Final = frozenset({"1", "yes", "on", "true"})
_FALSE: Final = frozenset({"0", "no", "off", "false"})

_FENCES: Final = frozenset({"off", "reboot", "diag"})
_KEPT_AS_QUOTED: Final = BY_NAME["password"].name

# Cluster managers write these to every agent, for their own bookkeeping: the name of the agent and of the device
# (fenced), the target's node id (Pacemaker). A warning on each call would teach people to ignore warnings.
_BOOKKEEPING: Final = frozenset({"agent", "name", "nodeid"})
_PACEMAKERS_OWN: Final = ("pcmk_", "crm_", "CRM_meta_")
_MOST_VERBOSE: Final = 9


class OptionInput(NamedTuple):
    """The options that the caller gave.

    values: text by canonical name, without white space at both ends; booleans are "1" or "0"; no defaults.
    warnings: one sentence each, printable, without any value. verbosity: 0 by default, 1 for -v, and so on.
    stray_words: how many arguments of a command line belong to no option.
    """

    values: Mapping[str, str]
    warnings: tuple[str, ...]
    from_stdin: bool
    verbosity: int
    stray_words: int = 0


def parse_argv(argv: Sequence[str]) -> OptionInput:
    """Reads a command line without the program's name. Of an option that is given twice, the last value counts.

    Raises UsageError for an unknown or ambiguous option, a missing value, or a value for a flag. Raises it also where
    the action seems to be misread (fencer.agent.misread).
    """
    try:
        given, rest = read_command_line(argv)
    except UsageError as error:
        raise UsageError(f"Command line: {_readable(str(error))}: see --help") from error
    values: dict[str, str] = {}
    flags_v = 0
    for row, text in given:
        # A password keeps its white space, because the shell's quotes delimit it. A value of blanks alone stays wrong.
        kept = row.name == _KEPT_AS_QUOTED or not text.strip()
        values[row.name] = "1" if not row.argument else text if kept else text.strip()
        flags_v += row.name == "verbose"
    if rest or ("action" not in values and not _only_documentation(values)):
        from fencer.agent.misread import misread_words  # people and cluster managers name the action

        if (reason := misread_words(argv, given, rest)) is not None:
            raise UsageError(reason)
    warnings: list[str] = []
    if rest:
        # Their text is not shown: after a flag such as -P it may be a password.
        warnings.append(f"Command line: {len(rest)} argument(s) belong to no option and are ignored: see --help")
    return _with_verbosity(values, warnings, from_stdin=False, verbose=flags_v)._replace(stray_words=len(rest))


def read_stdin(stream: BinaryIO) -> str:
    """Reads the whole input. Bytes that are no UTF-8 become surrogate escapes. Raises UsageError above 1 MiB."""
    data = stream.read(MAX_STDIN_BYTES + 1)
    if len(data) > MAX_STDIN_BYTES:
        raise UsageError(f"stdin: more than {MAX_STDIN_BYTES} bytes: give one name=value line an option")
    return data.decode("utf-8", "surrogateescape")


def parse_stdin(text: str, *, names_action: bool = True) -> OptionInput:
    """Reads ``name=value`` lines as a cluster manager writes them.

    A line is split at the first ``=``. Of several lines for one option, the last one counts, also across old and new
    names. Lines and values lose white space at both ends; then one enclosing pair of double quotes is removed, within
    which a password keeps its white space. ``-`` and ``_`` are the same in names. An unknown line is ignored with a
    warning: a fence must not fail because of an option of another version.

    names_action: the text is a caller's whole input, so without an action the default one is meant. Then a line that
    looks like a misread option raises UsageError (fencer.agent.misread). An option for people only raises it, too.
    """
    values: dict[str, str] = {}
    warnings: list[str] = []
    not_understood: list[str] = []
    level = 0
    for number, name, value in _lines(text):
        row = BY_NAME.get(name.replace("-", "_"))
        if row is None:
            if name in _BOOKKEEPING or name.startswith(_PACEMAKERS_OWN):
                continue
            not_understood.append(name)
            # Not shown: it may be the second line of a password, which may have a = in it.
            what = "without '=' is" if value is None else "names no option of this agent and is"
            warnings.append(f"stdin: line {number} {what} ignored")
        elif row.kind is not ValueKind.BOOLEAN:
            values[row.name] = _unquoted(row.name, value or "")
        elif row.name == "verbose" and _is_whole(digits := _unquoted(row.name, value or "")):
            level = min(int(digits), _MOST_VERBOSE)
            values[row.name] = "1" if level else "0"
        elif (truth := _truth(_unquoted(row.name, value or ""))) is not None:
            values[row.name] = truth
            level = int(truth) if row.name == "verbose" else level
        else:
            warnings.append(f"stdin: {row.name} is ignored: its value is none of 1, yes, on, true, 0, no, off, false")
    _refuse_on_stdin(values)
    if names_action and "action" not in values and not_understood:
        from fencer.agent.misread import misread_line  # nearly every caller names the action

        if (reason := next(filter(None, map(misread_line, not_understood)), None)) is not None:
            raise UsageError(reason)
    return _with_verbosity(values, warnings, from_stdin=True, verbose=level)


def _refuse_on_stdin(values: Mapping[str, str]) -> None:
    """Raises UsageError for an option that a cluster manager must not give.

    With it, exit status 0 would be taken for a fence although there was none, or a fenced node could write again.
    """
    for row in OPTIONS:
        if not row.on_stdin and values.get(row.name) == "1":
            raise UsageError(
                f"{row.name}: only for a person on the command line (--{row.long}): remove it from the cluster's "
                "configuration"
            )
    if values.get("fail_time") and _action(values.get("action", "off")) not in _FENCES:
        raise UsageError(
            "action: dlm_controld asks for a fence (fail_time), and the action in dlm.conf is none: give off or reboot "
            "there; it adds action=on itself where it unfences"
        )


def check(values: Mapping[str, str]) -> None:
    """Raises UsageError for an invalid value: one sentence that names the option and the remedy.

    For help and version no other option is checked. A wrong ``verbose_level`` is only a warning (from the parser): it
    must not stop a fence.
    """
    if _only_documentation(values):
        return
    if "action" in values and _action(values["action"]) not in ACTIONS:
        # Pacemaker looks for the words "unrecognised action" to tell this from a failed fence.
        raise UsageError(f"Failed: Unrecognised action {_shown(values['action'])}: give one of {', '.join(ACTIONS)}")
    if _action(values.get("action", "")) in {"metadata", "manpage"}:
        return
    for name, text in values.items():
        _check_one(BY_NAME[name], text)


def with_defaults(values: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the checked values with every default, and every choice in the table's spelling. Raises nothing.

    Some defaults depend on other options: ``disable_timeout`` is "1" where Pacemaker's fencer calls, else "0"; ``ip``
    is ``plug`` where ``port_as_ip`` is set; ``proof`` and ``deadline`` are computed.
    """
    full = {row.name: row.default for row in OPTIONS if row.default is not None} | dict(values)
    full["action"] = _action(full["action"])
    for row in OPTIONS:
        if row.kind is ValueKind.SELECT and row.name in full:
            full[row.name] = _choice(row, full[row.name]) or full[row.name]
    if "disable_timeout" in values:
        full["disable_timeout"] = _truth(values["disable_timeout"]) or "0"
    else:
        full["disable_timeout"] = "1" if environ.get("PCMK_service") == "pacemaker-fenced" else "0"
    if full.get("port_as_ip") == "1" and full.get("plug"):
        full["ip"] = full["plug"]
    full.setdefault("proof", "power" if full.get("ip") else "storage")
    if "deadline" not in full:
        from fencer.agent.time_limits import deadline_s  # not where only documentation is asked for

        full["deadline"] = _seconds(deadline_s(full, values, pacemaker=full["disable_timeout"] == "1"))
    return full


def _lines(text: str) -> Iterator[tuple[int, str, str | None]]:
    """Yields number, name and value of each line. The value is None where the line has no ``=``."""
    # Not str.splitlines: it also splits at form feeds and other control characters, which a password may contain.
    for number, raw in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        yield number, name, value if equals else None


def _unquoted(name: str, text: str) -> str:
    """A value of stdin without white space and quotes around it."""
    value = text.strip()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
        return value if name == _KEPT_AS_QUOTED else value.strip()
    return value


def _only_documentation(values: Mapping[str, str]) -> bool:
    return values.get("help") == "1" or values.get("version") == "1"


def _with_verbosity(values: dict[str, str], warnings: list[str], *, from_stdin: bool, verbose: int) -> OptionInput:
    level = verbose
    if "verbose_level" in values:
        text = values["verbose_level"]
        whole = _is_whole(text)
        level = int(text) if whole else 0
        if not whole:
            warnings.append("verbose_level: not a whole number of 0 or more: taken as 0")
        elif level == 0 and values.get("verbose") == "1":
            warnings.append("verbose: ignored, because verbose_level is 0")
    if level >= 1:
        ignored = sorted(name for name in values if BY_NAME[name].effect is Effect.NONE)
        if ignored:
            warnings.append(f"Accepted without effect here: {', '.join(ignored)}")
    if len(warnings) > _MAX_WARNINGS:
        warnings[_MAX_WARNINGS:] = [f"{len(warnings) - _MAX_WARNINGS} more warnings are not shown"]
    return OptionInput(values, tuple(warnings), from_stdin, level)


def _check_one(row: Option, text: str) -> None:
    if "\0" in text:
        raise UsageError(f"{row.name}: contains a NUL byte: remove it")
    match row.kind:
        case ValueKind.INTEGER if row.name != "verbose_level":
            if not _is_whole(text):
                raise UsageError(f"{row.name}: not a whole number: give 0 or more")
        case ValueKind.SECOND:
            if not _is_number(text):
                raise UsageError(f"{row.name}: not a time: give seconds, 0 or more")
        case ValueKind.SELECT:
            if _choice(row, text) is None:
                raise UsageError(f"{row.name}: not a choice: give one of {', '.join(row.choices)}")
        case _:
            pass


def _is_number(text: str) -> bool:
    """Whether text is a number: up to nine digits, and up to nine after a decimal point. No sign, exponent or nan."""
    whole, point, fraction = text.partition(".")
    parts = (whole, fraction) if point else (whole,)
    return all(len(part) <= 9 and part.isascii() and part.isdigit() for part in parts)


def _is_whole(text: str) -> bool:
    return _is_number(text) and "." not in text


def _seconds(number: float) -> str:
    """Formats a number so that ``_is_number`` accepts it. repr would use exponents."""
    return f"{number:.9f}".rstrip("0").rstrip(".")


def _truth(text: str) -> str | None:
    word = text.lower()
    if word in _TRUE:
        return "1"
    return "0" if word in _FALSE else None


def _choice(row: Option, text: str) -> str | None:
    word = text.lower()
    return next((choice for choice in row.choices if choice.lower() == word), None)


def _action(text: str) -> str:
    word = text.lower()
    return "metadata" if word == "meta-data" else word  # OCF's spelling


def _shown(text: str) -> str:
    """A caller's text for a message: shortened, printable, quoted."""
    return ascii(text if len(text) <= _MAX_NAME_SHOWN else text[:_MAX_NAME_SHOWN] + "...")


def _readable(text: str) -> str:
    """A sentence that quotes a caller's text: shortened, without control characters."""
    short = text if len(text) <= 2 * _MAX_NAME_SHOWN else text[: 2 * _MAX_NAME_SHOWN] + "..."
    return "".join(char if " " <= char <= "~" else ascii(char)[1:-1] for char in short)
