# SPDX-License-Identifier: Apache-2.0
"""What holds for every input: nothing but UsageError comes out, the last one wins, quotes and dashes do not matter."""

from hypothesis import example, given
from hypothesis import strategies as st

from fencer.agent.option import ValueKind
from fencer.agent.option_input import OptionInput, check, parse_argv, parse_stdin, with_defaults
from fencer.agent.options import ACTIONS, BY_NAME, OPTIONS
from fencer.errors import UsageError

NAMES = sorted(BY_NAME)
TAKES_TEXT = [name for name in NAMES if BY_NAME[name].kind is not ValueKind.BOOLEAN]
# Everything that decoding bytes with surrogateescape can give.
anything = st.binary(max_size=200).map(lambda data: data.decode("utf-8", "surrogateescape"))
name = st.sampled_from(NAMES)
value = st.one_of(
    anything,
    st.sampled_from([*ACTIONS, "1", "0", "yes", "", '"', '""', "-1", "1.5", "nan", "9" * 5000, "WERO", "cycle"]),
)
# What survives a line: no line ends inside, nothing to strip outside, no quotes that would be taken off.
plain = st.text(min_size=1, max_size=30).filter(
    lambda text: "\n" not in text and "\r" not in text and text == text.strip() and '"' not in (text[0], text[-1])
)


def consume(given: OptionInput) -> None:
    assert set(given.values) <= {row.name for row in OPTIONS}
    assert all(warning.isprintable() for warning in given.warnings)
    assert given.verbosity >= 0
    try:
        check(given.values)
    except UsageError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 400
        return
    with_defaults(given.values, {})


@given(st.lists(st.one_of(anything, st.tuples(name, value).map("=".join)), max_size=12).map("\n".join))
@example("\0")
@example("=")
@example("verbose_level=" + "9" * 5000)
@example("power_timeout=" + "9" * 5000)
@example("disable_timeout=\udcff")
def test_stdin_never_crashes(text):
    try:
        parsed = parse_stdin(text)
    except UsageError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 300
        return
    consume(parsed)


words = st.one_of(
    anything.filter(lambda text: "\0" not in text),
    st.sampled_from([f"--{row.long}" for row in OPTIONS] + [f"-{row.letter}" for row in OPTIONS if row.letter]),
    st.tuples(st.sampled_from([row.long for row in OPTIONS]), value).map(lambda pair: f"--{pair[0]}={pair[1]}"),
)


@given(st.lists(words, max_size=8))
def test_argv_never_crashes(argv):
    try:
        parsed = parse_argv(argv)
    except UsageError as error:
        assert str(error).isascii()
        assert str(error).isprintable()
        assert len(str(error)) < 200
        return
    consume(parsed)


@given(st.sampled_from(TAKES_TEXT), plain, plain, st.data())
def test_the_last_one_wins_under_whatever_name(first, earlier, later, data):
    second = data.draw(st.sampled_from(BY_NAME[first].names))
    assert parse_stdin(f"{first}={earlier}\n{second}={later}\n").values == {BY_NAME[first].name: later}


@given(st.sampled_from(TAKES_TEXT), plain)
def test_one_pair_of_quotes_does_not_matter(option, text):
    assert parse_stdin(f'{option}="{text}"').values == parse_stdin(f"{option}={text}").values
    assert parse_stdin(f'{option}=""{text}""').values == {BY_NAME[option].name: f'"{text}"'}


@given(st.sampled_from([name for name in NAMES if BY_NAME[name].on_stdin]), plain, st.randoms())
def test_dashes_and_underscores_are_the_same(option, text, random):
    spelled = "".join(random.choice("-_") if letter == "_" else letter for letter in option)
    assert parse_stdin(f"{spelled}={text}").values == parse_stdin(f"{option}={text}").values


PORTABLE = [row for row in OPTIONS if row.name not in {"verbose_level", "action"} and row.on_stdin]


@given(st.dictionaries(st.sampled_from(PORTABLE), plain, max_size=8))
def test_argv_and_stdin_say_the_same(options):
    """A command line that works can be written into cluster.conf."""
    argv, lines = ["--action=off"], ["action=off"]
    for row, text in options.items():
        argv.append(f"--{row.long}" + ("" if row.kind is ValueKind.BOOLEAN else f"={text}"))
        lines.append(f"{row.name}=" + ("1" if row.kind is ValueKind.BOOLEAN else text))
    assert parse_argv(argv)._replace(from_stdin=True) == parse_stdin("\n".join(lines))


@given(st.dictionaries(st.sampled_from([row.name for row in OPTIONS]), st.sampled_from(["1", "0.5", "onoff", "any"])))
@example({"power_timeout": "onoff", "version": "1"})
def test_defaults_make_checked_values_complete_and_stay_checked(values):
    try:
        check(values)
    except UsageError:
        return
    full = with_defaults(values, {})
    check(full)
    assert full == with_defaults(full, {})
    assert set(full) >= {row.name for row in OPTIONS if row.default is not None}
