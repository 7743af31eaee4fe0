# SPDX-License-Identifier: Apache-2.0
"""Generates ``--help``, the man page (roff) and the option tables (markdown) from the table of options.

``python -m fencer.agent.manual help|man|markdown`` prints one of them, for packaging and for docs/options.md.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from fencer._typing import Final
from fencer.agent.metadata import AGENT, DESCRIPTION, SHORT_DESCRIPTION
from fencer.agent.option import Effect, Group, Option, Origin, ValueKind
from fencer.agent.options import OPTIONS
from fencer.errors import UsageError

MARKDOWN_COMMAND: Final = "python -m fencer.agent.manual markdown > docs/options.md"

_COLUMN: Final = 32
"""Where a description starts in --help."""
_NARROW: Final = 70
"""Below so many columns a description stands under its option."""

_ACTIONS: Final = (
    ("reboot", "Fence the node, then switch it on. It has succeeded once the fence is proved. This is the default."),
    ("off", "Fence the node and leave it off."),
    ("on", "This node: register its key on every LUN and reserve (unfence). Another node: switch it on."),
    ("status", "The power state as the BMC shows it; without a BMC, whether the node's key is registered."),
    ("monitor", "Prove, without changing anything, that a fence would work now."),
    ("list", "Print the names of the nodes that can be fenced, one a line."),
    ("list-status", "As list, with each node's state."),
    ("validate-all", "Check the options, send nothing."),
    ("diag", "Have the BMC raise a diagnostic interrupt (NMI) in the node. This is no fence."),
    (
        "history",
        "Print the journal, newest first, of all nodes or of the one that is named; -v with steps and monitors.",
    ),
    ("metadata, manpage", "Print the agent's metadata, in XML."),
)
_EXIT_STATUS: Final = (
    ("0", "The action succeeded; for off and reboot: the fence is proved. For status: the node is on."),
    ("1", "It failed, or nothing was proved; the reason is on stderr."),
    ("2", "For status only: the node is off."),
)
_EXAMPLES: Final = (
    (
        "Would a fence of serv-0001 work now?",
        f"{AGENT} -o monitor -n serv-0001 -a 192.168.1.50 -l ADMIN -S /etc/bmc-password --vg=shared_vg",
    ),
    ("What would be done?", f"{AGENT} -o off -n serv-0001 --vg=shared_vg --dry-run"),
    ("Who fenced whom, and what proved it?", f"{AGENT} -o history"),
)
_FILES: Final = (
    ("/etc/cluster/cluster.conf", "Nodes, their ids, fence devices and volume groups, where it exists."),
    ("/run/fence-halvm", "Marks that are gone after a reboot; among them, that this node was registered in this boot."),
    (
        "/var/lib/fence-halvm",
        "The journal: who fenced whom, when, how long each step took, what proved it. fenced.json: this node was "
        "fenced by its peer, so a fence of that peer is refused until they meet or the file is removed.",
    ),
)


JSON_FIELDS: Final = (
    ("at", "When the call began its action, UTC, ISO 8601."),
    ("action", "The action."),
    ("node", "The node that it was about; null where none was named."),
    ("bmc", "Address of the BMC; null where none was used."),
    ("outcome", "success, failure, or unknown where a signal ended the call before there was a verdict."),
    ("exit_status", "The exit status: 0, 1 or 2."),
    ("state", "on or off: for status its answer, for other actions the chassis power as last read; null: not known."),
    ("proofs", "What proved a fence: power, storage, self."),
    ("weak", "true where storage was proved only by a plain PREEMPT or by a command without an answer."),
    ("result", "The line that is printed without --json; empty where there is none."),
    ("reasons", "Sentences: why it failed, or what did not work beside a success."),
    ("took_s", "Seconds from the end of delay to the verdict."),
)
"""Fields of the object that --json prints for on, off, reboot, diag, status and monitor."""

EVENT_FIELDS: Final = (
    ("at", "When it began, UTC, ISO 8601."),
    ("at_unix_s", "The same in seconds since 1970."),
    ("took_s", "Seconds until the verdict."),
    ("kind", "fence, power-on, unfence, monitor, diag; of the sidecar: self-fence, registration, pause."),
    ("program", "fence_halvm or halvm-watchdogd."),
    ("actor", "The node that acted."),
    ("target", "The node that it was about, or its BMC's address where none was named; empty: not known."),
    ("action", "The action, as the caller gave it."),
    ("outcome", "success, failure, or unknown where a signal ended the call before there was a verdict."),
    ("proofs", "What proved a fence: power, storage, self."),
    ("weak", "true where storage was proved only by a plain PREEMPT or by a command without an answer."),
    ("error", "Why it failed; empty where it succeeded."),
    ("steps", "Objects: text, name, at_s (seconds since it began), took_s (since the step it had to wait for)."),
    ("failed", "The sides that did not do their part, beside a success, too: power, storage."),
)
"""Fields of the object that history prints for each event with --json."""

_JSON: Final = (
    "With --json, standard output has one JSON object a line; standard error stays as it is. on, off, reboot, diag, "
    "status and monitor print one object, with the fields below. Where several fence methods of cluster.conf are "
    "tried, each prints one, and the last one counts. list prints an object with node for each node, list-status one "
    "with node and state (on, off or null). history prints one for each event, with fields of its own. A call "
    "that ends before its action began, because an option is refused, prints none: the exit status is 1, and the "
    "reason is on standard error."
)

_EVENTS: Final = "The fields of an event of history:"


def help_text(columns: int = 80) -> str:
    """``--help``, wrapped to so many columns: actions, options by group, those without effect, examples."""
    return "".join(f"{line}\n" for line in _help(columns))


REVISED = "2026-11-29"
"""Date of the man page, that of the last change which a reader would want to know of."""


def man_page() -> str:
    """The man page, section 8, in roff's man macros."""
    lines = "\n".join(_man()).split("\n")
    heads = (".SH", ".SS")
    # A heading begins a paragraph; mandoc complains of a second beginning.
    kept = (line for before, line in zip(["", *lines], lines, strict=False) if line != ".PP" or before[:3] not in heads)
    return "".join(f"{line}\n" for line in kept)


def options_markdown() -> str:
    """The text of docs/options.md: every option, those of this agent alone first."""
    return "".join(f"{line}\n" for line in _markdown())


def options_table(effect: Effect, *origins: Origin) -> str:
    """A markdown table of the options with this effect and one of these origins (none given: any origin)."""
    rows = [row for row in _sorted() if row.effect is effect and (not origins or row.origin in origins)]
    head = ("| option | on the command line | takes | default | meaning |", "| --- | --- | --- | --- | --- |")
    return "".join(f"{line}\n" for line in (*head, *map(_markdown_row, rows)))


def _sorted() -> list[Option]:
    return sorted(OPTIONS, key=lambda row: (row.order, row.name))


def _remark(row: Option) -> str:
    """Choices and default, in brackets, for one line of help."""
    parts = ["|".join(row.choices)] if row.choices else []
    if row.kind is not ValueKind.BOOLEAN or row.default == "1":
        default = row.default if row.default is not None else row.default_text
        parts += [f"default {default}"] if default else []
    return f" ({', '.join(parts)})" if parts else ""


def _help(columns: int) -> Iterator[str]:
    yield f"Usage: {AGENT} [options]"
    yield from _wrapped("Without any option, name=value lines are read from standard input.", columns)
    yield "\nActions (-o, default reboot):"
    yield from _rows(_ACTIONS, columns)
    for group in Group:
        yield f"\n{group.value}:"
        rows = (row for row in _sorted() if row.group is group and row.effect is Effect.USED)
        yield from _rows((_help_row(row) for row in rows), columns)
    yield ""
    yield from _wrapped("Accepted for other agents' callers, ignored:", columns)
    yield from _rows((_help_row(row) for row in _sorted() if row.effect is Effect.NONE), columns)
    yield "\nExamples:"
    for question, command in _EXAMPLES:
        yield from _wrapped(question, columns, "  ")
        yield f"    {command}"  # a line, however long, so that it can be copied
    yield ""
    yield from _wrapped(f"More on each option, exit status and files: man {AGENT}", columns)


def _help_row(row: Option) -> tuple[str, str]:
    return row.synopsis if row.letter else f"    {row.synopsis}", f"{row.short_description}{_remark(row)}"


def _rows(pairs: Iterable[tuple[str, str]], columns: int) -> Iterator[str]:
    """Two columns; the second one under the first where that is too long, or the terminal too narrow."""
    indent = " " * (_COLUMN if columns >= _NARROW else 8)
    for term, text in pairs:
        head, fits = f"  {term}", columns >= _NARROW and len(term) + 4 <= _COLUMN
        lines = list(_wrapped(text, columns, indent))
        if fits:
            yield head + lines.pop(0)[len(head) :]
        else:
            yield head
        yield from lines


def _wrapped(text: str, columns: int, indent: str = "") -> Iterator[str]:
    from textwrap import wrap  # for people alone: it loads the regular expressions

    width = max(columns, len(indent) + 20)
    yield from wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _man() -> Iterator[str]:
    yield f'.TH FENCE_HALVM 8 {REVISED} "fence-halvm" "System Manager\'s Manual"'
    yield f".SH NAME\n{AGENT} \\- {_roff(SHORT_DESCRIPTION)}"
    yield f".SH SYNOPSIS\n.B {AGENT}\n[\\fIoptions\\fR]"
    yield ".SH DESCRIPTION"
    yield from _paragraphs(DESCRIPTION)
    yield ".SH ACTIONS"
    yield from _definitions(_ACTIONS)
    yield ".SH OPTIONS"
    yield from _paragraphs((
        "On the command line long options may be shortened as long as they stay unambiguous. Without any argument, "
        "lines name=value are read from standard input, as cluster managers write them: the names are those shown here "
        "in parentheses, '-' and '_' are the same, the last of several lines wins, white space around a value is taken "
        "off, an unknown name is ignored with a warning. Without an action, what looks like a misread one is refused.",
        "On the command line cluster.conf, where there is one, says what is not typed: how the node that is named (or, "
        "where neither a node nor LUNs are typed, the other one of two) is fenced. What is typed wins; devices or vg "
        "stand for both of cluster.conf's; with ip nothing is taken from there.",
    ))  # fmt: skip
    for group in Group:
        yield f".SS {_roff(group.value)}"
        used = [row for row in _sorted() if row.group is group and row.effect is Effect.USED]
        yield from _definitions(map(_man_option, used))
    yield ".SS Without effect"
    yield from _paragraphs(("Accepted, because callers of fence_ipmilan and fence_scsi send them.",))
    yield from _definitions(_man_option(row) for row in _sorted() if row.effect is Effect.NONE)
    yield ".SH EXIT STATUS"
    yield from _definitions(_EXIT_STATUS)
    yield ".SH JSON"
    yield from _paragraphs((_JSON,))
    yield from _definitions(JSON_FIELDS)
    yield from _paragraphs((_EVENTS,))
    yield from _definitions(EVENT_FIELDS)
    yield ".SH FILES"
    yield from _definitions(_FILES)
    yield ".SH EXAMPLES"
    for question, command in _EXAMPLES:
        yield from _paragraphs((question,))
        yield _roff_example(command)
    yield ".SH SEE ALSO\n.BR fence_ipmilan (8),\n.BR fence_scsi (8),\n.BR sg_persist (8),\n.BR stonith_admin (8)"


def _man_option(row: Option) -> tuple[str, str]:
    names = ", ".join(row.names)
    choices = [f"One of {', '.join(row.choices)}."] if row.choices else []
    default = row.default if row.default is not None else row.default_text
    sentences = [f"{row.short_description}.", row.more, *choices, f"Default: {default}." if default else ""]
    return f"{row.synopsis} ({names})", " ".join(sentence for sentence in sentences if sentence)


def _paragraphs(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        yield f".PP\n{_roff(text)}"


def _definitions(pairs: Sequence[tuple[str, str]] | Iterator[tuple[str, str]]) -> Iterator[str]:
    for term, text in pairs:
        yield f".TP\n\\fB{_roff(term)}\\fR\n{_roff(text)}"


def _roff_example(command: str) -> str:
    return f".PP\n.nf\n.RS 4\n{_roff(command)}\n.RE\n.fi"


def _roff(text: str) -> str:
    """Escapes plain text for roff: no escapes, ASCII hyphens and quotes, no line that is taken for a request."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{plain}" if plain.startswith(".") else plain


def _markdown() -> Iterator[str]:
    yield f"<!-- Generated from fencer/agent/options.py by: {MARKDOWN_COMMAND} -->\n"
    yield "# Options of fence_halvm\n"
    yield (
        "On standard input (and so in cluster.conf and in a CIB) an option is written `name=value`; old names, in\n"
        "parentheses, stay valid, and `-` and `_` are the same.\n"
    )
    yield "## Ours\n"
    yield options_table(Effect.USED, Origin.OURS)
    yield "## Shared with fence_ipmilan and fence-agents' library\n"
    yield options_table(Effect.USED, Origin.IPMILAN)
    yield "## Shared with fence_scsi\n"
    yield options_table(Effect.USED, Origin.SCSI)
    yield "## Accepted without effect\n"
    yield "Callers of fence_ipmilan and fence_scsi send them; with `-v` the agent says that they are ignored.\n"
    yield options_table(Effect.NONE)
    yield "## Output of --json\n"
    yield f"{_JSON}\n"
    yield from _markdown_fields(JSON_FIELDS)
    yield f"\n{_EVENTS}\n"
    yield from _markdown_fields(EVENT_FIELDS)


def _markdown_fields(fields: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield "| field | meaning |\n| --- | --- |"
    yield from (f"| `{name}` | {meaning} |" for name, meaning in fields)


def _markdown_row(row: Option) -> str:
    old = f" ({', '.join(f'`{name}`' for name in row.names[1:])})" if len(row.names) > 1 else ""
    takes = ", ".join(f"`{choice}`" for choice in row.choices) or row.kind.value
    default = f"`{row.default}`" if row.default is not None else row.default_text
    meaning = f"{row.short_description}. {row.more}".rstrip()
    cells = (f"`{row.name}`{old}", f"`{row.synopsis}`", takes, default, meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main(argv: Sequence[str]) -> int:
    """Prints the text that argv names. Returns the exit status. Raises UsageError for an unknown name."""
    makers: dict[str, Callable[[], str]] = {"help": help_text, "man": man_page, "markdown": options_markdown}
    if len(argv) != 1 or argv[0] not in makers:
        raise UsageError(f"fencer.agent.manual: give one of {', '.join(makers)}")
    sys.stdout.write(makers[argv[0]]())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UsageError as error:
        sys.exit(str(error))
