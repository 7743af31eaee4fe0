# SPDX-License-Identifier: Apache-2.0
"""Our parser against fence_ipmilan's own, on generated input. Every difference is explained here, or it is a bug.

- **Old names with dashes** (``passwd-script``): we take them; the peer folds ``-`` and ``_`` only in new names.
- **option, nodename, agent, name, nodeid**: we know them; the peer ignores them, partly with a warning.
- **-n without --port-as-ip**: we take the name of the node; the peer refuses.
- **Prefixes**: more long options make some prefixes ambiguous that the peer takes (``--re`` for ``--retry-on``).
- **Numbers**: the peer reads them by int(): a sign, spaces inside, ``1_0`` and digits of other scripts pass, and a
  negative time is slept or not as it happens; we refuse those, and more than nine digits. We take decimals of seconds;
  the peer refuses them. A wrong verbose_level is a warning for both.
- **port_as_ip**: ``with_defaults`` copies plug to ip, not the parser; the peer takes port_as_ip=0 for yes, we do not.
- **Left-over words** are counted in a warning, not shown: one may be a password.
- **No action, but something that looks like one** is refused (fencer.agent.misread); the peer reboots.
- **White space around a value** is taken off; the peer keeps what stands before it. **verbose=N** is a level here.
- **help, version** on stdin: refused; the peer prints a text and exits 0, which a cluster manager takes for a fence.

Not compared by running it, fence_scsi: its ``-a`` is --aptpl, here --ip as in fence_ipmilan; its default action is off,
here reboot; its ``-H`` for --delay is undocumented there and unknown here.
"""

import json
import os
import subprocess
from pathlib import Path

import peer_options
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fencer.agent.option import ValueKind
from fencer.agent.option_input import check, parse_argv, parse_stdin
from fencer.agent.options import BY_NAME
from fencer.errors import UsageError

pytestmark = pytest.mark.peer

PEER = peer_options.kept("fence_ipmilan")
NAMES = sorted({option.name for option in PEER})
LONGS = sorted({option.flags[-1][2:] for option in PEER})
SPELLED = sorted({*NAMES, *(name.replace("_", "-") for name in LONGS), *LONGS})
FLAGS = {flag: option.type == "boolean" for option in PEER for flag in option.flags}


EXAMPLES = int(os.environ.get("FENCE_HALVM_EXAMPLES", "300"))  # a long hunt: 20000


class PeerParser:
    """The peer's parser, running, as a function."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("peer_parser.py")
        self.process = subprocess.Popen(
            ["/usr/bin/python3", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, **case):
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the peer's parser died"
        return json.loads(line)


@pytest.fixture(scope="module")
def peer():
    peer_options.needs("fence_ipmilan")
    if peer_options.installed_version() != peer_options.PEER_VERSION:
        pytest.skip(f"compared with fence-agents {peer_options.PEER_VERSION} only")
    parser = PeerParser()
    yield parser
    assert parser.process.stdin is not None
    parser.process.stdin.close()
    parser.process.wait(10)


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
number = st.sampled_from(["0", "1", "2", "20", "007", "-1", "+1", " 1", "1_0", "0.5", "1e3", "", "x", "0x1", "\u0665"])
word = st.sampled_from(
    ["1", "0", "yes", "NO", "On", "off", "true", "FALSE", "onoff", "CYCLE", "Administrator", "md5", "none", "reboot"]
)
value = st.one_of(number, word, text, text.map(lambda inner: f'"{inner}"'))
line = st.one_of(
    st.tuples(st.sampled_from(SPELLED), st.sampled_from(["=", "==", " = ", '="', ""]), value).map("".join),
    st.tuples(st.sampled_from(["", " ", "\t"]), st.sampled_from(SPELLED), st.just("="), value).map("".join),
    st.sampled_from(["", "#ip=1", " # ip=1", "frobnicate=1", "=1", "="]),
    text,
)
line_end = st.sampled_from(["\n", "\r\n", "\r", "\n\n"])


def known(line):
    """Whether the line's name is an explained difference: one that we know and the peer does not."""
    name = line.strip().partition("=")[0]
    row = BY_NAME.get(name.replace("-", "_"))
    return row is None or name in NAMES or name in SPELLED


def blanks_at_a_flag(line):
    """Whether a flag's value has white space at an end: an explained difference, the peer drops such a line."""
    name, _, text = line.strip().partition("=")
    row = BY_NAME.get(name.replace("-", "_"))
    return row is not None and row.kind is ValueKind.BOOLEAN and text != text.strip()


def a_level(line):
    """Whether a line is verbose=N, an explained difference: the peer drops it."""
    name, _, text = line.strip().partition("=")
    return name == "verbose" and text.strip('" ').isdigit() and text.strip('" ') not in {"0", "1"}


def canonical(values):
    return {BY_NAME[name.replace("-", "_")].name: text for name, text in values.items()}


def without_port_as_ip(theirs, ours):
    """The peer's values as if its parser, too, left plug and ip alone."""
    if "port_as_ip" in theirs and "plug" in theirs:
        theirs = {name: text for name, text in theirs.items() if name != "ip"}
        if "ip" in ours:
            theirs["ip"] = ours["ip"]
    return theirs


def our_invalid(values):
    bad = set()
    for name, text in values.items():
        try:
            check({name: text})
        except UsageError:
            bad.add(name)
    return bad


def explained(name, text):
    """Where int() and we differ about a number (see above), and the action, which the peer checks elsewhere."""
    row = BY_NAME[name]
    if row.kind in {ValueKind.INTEGER, ValueKind.SECOND}:
        return not (text.isascii() and text.isdigit() and len(text) <= 9)
    return name in {"action", "verbose_level"} or "\0" in text


@pytest.mark.slow
@given(st.lists(st.tuples(line, line_end).map("".join), max_size=10).map("".join))
@settings(max_examples=EXAMPLES, deadline=None)
def test_stdin_is_read_as_the_peer_reads_it(peer, text):
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assume(all(known(line) and not blanks_at_a_flag(line) and not a_level(line) for line in lines))
    theirs = peer(stdin=text)
    assert "refused" not in theirs
    try:
        ours = parse_stdin(text)
    except UsageError as error:
        assert any(word in str(error) for word in ("no action is given", "help: ", "version: "))
        return
    values = without_port_as_ip(canonical(theirs["values"]), ours.values)
    stripped = {name: text.strip() for name, text in values.items()}
    assume(stripped.get("verbose", "1") == ours.values.get("verbose", "1"))
    if "verbose_level" not in ours.values:
        level = int(values.pop("verbose_level"))
        stripped.pop("verbose_level")
        assert level == min(ours.verbosity, 1)
    assert {name: text.strip() for name, text in ours.values.items()} == stripped
    values = stripped
    theirs_invalid = set(canonical(dict.fromkeys(theirs["invalid"], "")))
    for name in theirs_invalid ^ our_invalid(values):
        assert explained(name, values[name]), (name, values[name])


argument = st.one_of(
    st.tuples(st.sampled_from(sorted(FLAGS)), value).map(list),
    st.sampled_from(sorted(FLAGS)).map(lambda flag: [flag]),
    st.tuples(st.sampled_from(LONGS), value).map(lambda pair: [f"--{pair[0]}={pair[1]}"]),
    st.tuples(st.sampled_from("alpSACLmuoDvqP"), value).map(lambda pair: [f"-{pair[0]}{pair[1]}"]),
    st.sampled_from([["--frobnicate"], ["-Z"], ["--"], ["-"], ["word"], ["--power"], ["--user", "u"], ["--meth=x"]]),
)


@pytest.mark.slow
@given(st.lists(argument, min_size=1, max_size=6).map(lambda groups: [word for group in groups for word in group]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_command_line_is_read_as_the_peer_reads_it(peer, argv):
    assume(not any("\0" in word for word in argv))
    theirs = peer(argv=argv)
    try:
        ours = parse_argv(argv)
    except UsageError as error:
        # Of our own letters (-d, -k, -f, -n, -x) in a bundle such as -Pd the peer knows -n only.
        assert "refused" in theirs or "no action is given" in str(error), argv
        return
    if "refused" in theirs:
        own = {name for name in ours.values if name not in NAMES}
        assert own or ("plug" in ours.values and "port_as_ip" not in ours.values), argv
        return
    values = without_port_as_ip(canonical(theirs["values"]), ours.values)
    flags = {name for name in values if BY_NAME[name].kind is ValueKind.BOOLEAN}
    assert all(values[name] == "" for name in flags)
    # A value of white space alone is kept, so that it stays wrong.
    values = {name: text if name == "password" else text.strip() or text for name, text in values.items()}
    values |= dict.fromkeys(flags, "1")
    if "verbose_level" not in ours.values:
        assert int(values.pop("verbose_level")) == ours.verbosity
    assert dict(ours.values) == values


def test_the_prefixes_that_are_no_longer_unambiguous():
    """Frozen here, so that a new option that takes away another one is noticed."""
    lost = []
    for long in LONGS:
        for end in range(1, len(long)):
            prefix = long[:end]
            if prefix in LONGS or sum(other.startswith(prefix) for other in LONGS) != 1:
                continue
            flag = FLAGS[f"--{long}"]
            try:
                parse_argv([f"--{prefix}"] if flag else [f"--{prefix}", "1"])
            except UsageError:
                lost.append(prefix)
    assert lost == ["c", "lo", "log", "m", "pr", "r", "re", "st", "su"]
