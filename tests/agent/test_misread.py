# SPDX-License-Identifier: Apache-2.0
"""A misread action never becomes the default one, which is reboot. One table for argv and one for stdin."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencer.agent.option_input import check, parse_argv, parse_stdin
from fencer.agent.options import ACTIONS, BY_NAME, OPTIONS
from fencer.errors import UsageError

DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
BLANKS = ("\t", "\u00a0", "\u2003", "\u3000", "\x0b", "  ")
BMC = ("-a", "10.0.0.5", "-P", "-l", "ADMIN", "-p", "ADMIN")
LINES = "ipaddr=10.0.0.5\nlogin=ADMIN\npasswd=ADMIN\n"


def action_of_words(*argv: str) -> str | None:
    """The action that is understood; "" where none is named. None: refused."""
    try:
        found = parse_argv(argv)
        check(found.values)
    except UsageError as error:
        sentence = str(error)
        assert sentence.isprintable()
        assert ": " in sentence
        return None
    return found.values.get("action", "")


def action_of_lines(text: str) -> str | None:
    try:
        found = parse_stdin(text)
        check(found.values)
    except UsageError as error:
        assert str(error).isprintable()
        return None
    return found.values.get("action", "")


@pytest.mark.parametrize(
    "words",
    [
        *((f"{dash}o", "status") for dash in DASHES),
        *((f"{dash}o status",) for dash in DASHES),
        *((f"{dash}action=status",) for dash in DASHES),
        *((f"{dash}{dash}action", "status") for dash in DASHES),
        *((f"-n{dash}ostatus",) for dash in DASHES),
        *(("-n", f"{dash}ostatus") for dash in DASHES),
        *(("-o", f"{dash}status") for dash in DASHES),
        ("status",),
        ("STATUS",),
        ("off",),
        ("action=status",),
        ("o", "status"),
        ("/o", "status"),
        ("--", "-o", "status"),
        ("-", "o", "status"),
        ("-action=status",),
        ("-action", "status"),
        ("-option=status",),
        ("-nodename=serv-0001",),
        ("-plug=serv-0001",),
        ("-n", "-o", "status"),
        ("-n", "-ostatus"),
        ("-n", "--action=status"),
        ("-n", "status"),
        ("--nodename=off",),
        ("-o=status",),
        ("-o", ""),
        ("-o", " "),
        ("-o", "status."),
        ("-o", "\ufeffstatus"),
        ("-o", "stat"),
        ("--actions=status",),
        ("--Action=status",),
        ("--option=status",),
        ("--action=",),
        ("\ufeff-o", "status"),
        ("\u00a0-o", "status"),
        ("-o", "off", "\u2013\u2013dry-run"),
        ("-o", "reboot", "\u2014n", "serv-0001"),
    ],
    ids=ascii,
)
def test_misread_words_are_refused(words: tuple[str, ...]) -> None:
    assert action_of_words(*BMC, *words) is None
    if "--" not in words:
        assert action_of_words(*words, *BMC) is None


@pytest.mark.parametrize(
    "line",
    [
        "action = status",
        "action =status",
        "action\t=status",
        "action\u00a0=status",
        "\ufeffaction=status",
        "\u200baction=status",
        "Action=status",
        "ACTION=status",
        "action: status",
        "action status",
        "action",
        "action:=status",
        "--action=status",
        "-o status",
        "-o=status",
        "-ostatus",
        *(f"{dash}o status" for dash in DASHES),
        *(f"{dash}action=status" for dash in DASHES),
        *(f"action{blank}=status" for blank in BLANKS),
        "status",
        "Status",
        "off",
        "option = status",
        "actions=status",
        "fence_action=status",
        "the action=status",
        "action=",
        'action=""',
        "action==status",
        "action=status.",
        "action=\ufeffstatus",
        "action='status'",
        "nodename = serv-0001",
        "ip =10.0.0.9",
        "\ufeffip=10.0.0.9",
        "Port=serv-0001",
    ],
    ids=ascii,
)
def test_misread_lines_are_refused(line: str) -> None:
    for text in (f"{line}\n{LINES}", f"{LINES}{line}\n", f"{LINES}{line}"):
        assert action_of_lines(text) is None


@pytest.mark.parametrize(
    ("line", "action"),
    [
        *((f"action={blank}status{blank}", "status") for blank in BLANKS),
        *((f"{blank}action=status", "status") for blank in BLANKS),
        ('action="status"', "status"),
        ('action=" status "', "status"),
        ("option=status", "status"),
        ("action=status\r", "status"),
        ("", ""),
        ("frobnicate=1", ""),
        ("description=the BMC of serv-0001", ""),
        ("transport=lan", ""),
        ("pcmk_host_list=serv-0001", ""),
        ("pcmk_reboot_action=off", ""),
        ("crm_feature_set=3.17.4", ""),
        ("nodeid=1", ""),
        ("agent=fence_halvm", ""),
        ("second line of a secret", ""),
        ("action=off\naction = status", "off"),
    ],
    ids=ascii,
)
def test_what_is_understood(line: str, action: str) -> None:
    assert action_of_lines(f"{LINES}{line}") == action
    assert action_of_lines(f"{line}\n{LINES}") == action


@pytest.mark.parametrize(
    ("words", "action"),
    [
        ((), ""),
        (("-n", "serv-0001"), ""),
        (("-o", " status "), "status"),
        (("-o", "off", "stray"), "off"),
        (("--action=off", "-p", "-secret"), "off"),
        (("-vv",), ""),
    ],
)
def test_words_that_are_understood(words: tuple[str, ...], action: str) -> None:
    assert action_of_words(*BMC, *words) == action


def test_a_refusal_shows_no_left_over_word() -> None:
    for words in (["hunter2"], ["-n", "\u2013hunter2"], ["-p", "-hunter2"]):
        with pytest.raises(UsageError) as caught:
            parse_argv([*BMC, *words])
        assert "hunter2" not in str(caught.value)
    with pytest.raises(UsageError) as caught:
        parse_stdin("my_password=hunter2")
    assert "hunter2" not in str(caught.value)


odd = st.text(st.sampled_from([*DASHES, *BLANKS[:5], " ", "\ufeff", "\u200b", "-", "x", "."]), max_size=3)


@given(odd, st.sampled_from(["action", "option"]), odd, odd, st.sampled_from(ACTIONS))
def test_a_line_that_names_an_action_means_it_or_is_refused(
    before: str, name: str, between: str, after: str, action: str
) -> None:
    text = f"{before}{name}{between}={after}{action}\n{LINES}"
    if "#" not in before:
        assert action_of_lines(text) in (None, action)


@given(odd, st.sampled_from(["o", "-action", "-action="]), st.sampled_from(["", " "]), st.sampled_from(ACTIONS))
def test_a_word_that_names_an_action_means_it_or_is_refused(before: str, name: str, between: str, action: str) -> None:
    for argv in ([f"{before}{name}{between}{action}"], [f"{before}{name}", action]):
        assert action_of_words(*BMC, *argv) in (None, action)


# --- what only a person may say -------------------------------------------------------------------------------------

PERSONAL = [row.name for row in OPTIONS if not row.on_stdin]


def test_what_only_a_person_may_say() -> None:
    assert set(PERSONAL) == {"dry_run", "re_register", "help", "version"}


@pytest.mark.parametrize("name", PERSONAL)
@pytest.mark.parametrize("action", ["", "action=off\n", "action=monitor\n", "action=validate-all\n", "action=on\n"])
@pytest.mark.parametrize("spelled", ["{}=1", "{}=yes", "{}=ON", '{}="true"', "{}= 1", "  {}=1"])
def test_it_is_refused_on_stdin(name: str, action: str, spelled: str) -> None:
    for each in (name, name.replace("_", "-")):
        with pytest.raises(UsageError) as caught:
            parse_stdin(f"{LINES}{action}{spelled.format(each)}\n")
        assert str(caught.value).startswith(f"{name}: only for a person on the command line (--")
    assert parse_argv([f"--{BY_NAME[name].long}", "-o", "off"]).values[name] == "1"


@pytest.mark.parametrize("name", PERSONAL)
def test_its_absence_may_be_said(name: str) -> None:
    assert parse_stdin(f"{LINES}action=off\n{name}=0\n").values[name] == "0"
