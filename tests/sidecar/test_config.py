# SPDX-License-Identifier: Apache-2.0
"""watchdogd.toml: what is accepted, and the message for what is not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencer.errors import UsageError
from fencer.sidecar.config import BY_NAME, SETTINGS, describe, parse_settings, read_settings
from fencer.sidecar.settings import RELOADABLE, Requirement, SelfFenceBy, Settings, changed

ROOT = Path(__file__).parents[2]
LEAST = 'vg = "shared_vg"\n'


def complaints(text: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        parse_settings(text, "w.toml")
    return str(caught.value).splitlines()


def test_one_line_is_enough():
    settings = parse_settings(LEAST)
    assert settings.vg == "shared_vg"
    assert settings.require is Requirement.ALL
    assert settings.watchdog_timeout_s == 5
    assert settings.timing.grace_s == settings.grace_s


def test_the_table_and_the_type_agree():
    assert set(BY_NAME) == set(Settings._fields) - {"source"}


def test_the_example_is_the_least_configuration_and_its_comments_are_the_defaults():
    text = (ROOT / "packaging/watchdogd.toml").read_text()
    assert parse_settings(text, "x") == parse_settings(LEAST, "x")
    spelt_out = "".join(
        f"{line[2:]}\n"
        for line in text.splitlines()
        if line.startswith("# ")
        and line[2:].split(" ")[0] in BY_NAME
        and not line.startswith(("# devices", "# local_"))
    )
    settings = parse_settings(LEAST + spelt_out, "x")
    assert settings == parse_settings(LEAST, "x")._replace(cluster_conf="/etc/cluster/cluster.conf")
    mentioned = {line.lstrip("# ").split(" ")[0] for line in text.splitlines()}
    assert set(BY_NAME) <= mentioned


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "w.toml: vg: nothing says which LUNs are shared"),
        (LEAST + "grace = 3\n", "w.toml line 2: grace: there is no such setting: did you mean grace_s?"),
        (LEAST + "sections = 1\n", "w.toml line 2: sections: there is no such setting: the settings are vg, devices,"),
        ("[watchdogd]\n" + LEAST, "w.toml line 1: watchdogd: there is no such setting: leave the heading out"),
        ("[section]\n" + LEAST, "w.toml line 1: section: there is no such setting: leave the heading out"),
        (LEAST + "[watchdog]\nx = 1\n", "w.toml line 2: watchdog: invalid value {'x': 1}: give a text in quotes"),
        (LEAST + "\n\ngrace_s = 1\n", "w.toml line 4: grace_s: 1 is less than one look may take"),
        (LEAST + 'grace_s = "x"\n', "w.toml line 2: grace_s: invalid value 'x': give seconds from 0 to 3600"),
        (LEAST + "grace_s = true\n", "w.toml line 2: grace_s: invalid value True"),
        (LEAST + "grace_s = nan\n", "w.toml line 2: grace_s: invalid value nan"),
        (LEAST + "watchdog_timeout_s = 5.5\n", "invalid value 5.5: give whole seconds from 2 to 600"),
        (LEAST + "watchdog_timeout_s = 1\n", "invalid value 1: give whole seconds from 2 to 600"),
        (LEAST + 'require = "most"\n', 'invalid value \'most\': give "all", "any" or "majority"'),
        (LEAST + 'devices = ["/dev/sdb"]\n', "w.toml line 2: devices: vg is given, too: give one of them"),
        ('devices = ["/dev/sdb", 3]\n', "give a list of names in quotes"),
        ('devices = ["/dev/sdb", "/dev/sdb"]\n', "one of them is given twice"),
        ('devices = ["iscsi://h/t/0"]\n', "is no disk of this node"),
        (LEAST + 'self_fence = "none"\n', '"none" goes with watchdog = "none" only'),
        (LEAST + 'self_fence = "watchdog"\nwatchdog = "none"\n', '"watchdog" needs a watchdog'),
        (LEAST + 'watchdog = "softdog"\n', '"softdog" is no device: give "auto", "none", or as "/dev/watchdog0"'),
        (LEAST + 'state_dir = "run"\n', '"run" does not begin with a slash'),
        (LEAST + 'local_key = "zz"\n', "w.toml line 2: local_key: not a reservation key: give 1 to 16 hex"),
        (LEAST + 'local_key = "0"\n', "w.toml line 2: local_key: 0 is no reservation key: give a number from 1"),
        (LEAST + 'grace_s = "x\n', "w.toml line 2: "),
        ("vg = \n", "w.toml line 1: "),
        ("a" * 10 + " = " + "[" * 5000, "w.toml"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_remedy(text: str, complaint: str):
    assert any(complaint in each for each in complaints(text)), complaints(text)


def test_everything_wrong_is_told_at_once():
    assert len(complaints('vgg = "x"\ngrace_s = -1\nself_fence = "no"\nlocal_key = "zz"\n')) == 5


def test_a_missing_file_names_the_one_line(tmp_path: Path):
    with pytest.raises(UsageError, match='make it; one line will do: vg = "shared_vg"'):
        read_settings(str(tmp_path / "none"))


def test_a_file_that_is_there_is_not_to_be_made(tmp_path: Path):
    with pytest.raises(UsageError, match=f"^{tmp_path}: not a regular file: give a file that can be read$"):
        read_settings(str(tmp_path))


def test_bytes_that_are_no_text_are_told_with_their_line(tmp_path: Path):
    (tmp_path / "w").write_bytes(b'vg = "x"\n# \xff\n')
    with pytest.raises(UsageError, match="w line 2: not UTF-8"):
        read_settings(str(tmp_path / "w"))


def test_what_a_reload_may_change():
    old = parse_settings(LEAST)
    new = old._replace(grace_s=20.0, watchdog_timeout_s=9, vg="other")
    assert changed(old, new) == (("grace_s",), ("vg", "watchdog_timeout_s"))
    assert changed(old, old) == ((), ())
    assert changed(old, old._replace(self_fence=SelfFenceBy.WATCHDOG)) == ((), ("self_fence",))
    assert set(BY_NAME) > RELOADABLE
    assert {setting.name for setting in SETTINGS} == {*Settings._fields} - {"source"}


def values(setting):
    if setting.choices:
        return st.sampled_from(setting.choices)
    if setting.kind is bool:
        return st.booleans()
    if setting.kind is int:
        return st.integers(int(setting.low), int(setting.high))
    if setting.kind is float:
        return st.floats(setting.low, setting.high)
    return None


BOUNDED = {setting.name: strategy for setting in SETTINGS if (strategy := values(setting)) is not None}


@given(st.fixed_dictionaries({}, optional=BOUNDED))
def test_values_within_their_bounds_are_taken_as_written_or_refused_for_a_relation(given_values):
    written = "".join(
        f"{name} = {str(value).lower() if isinstance(value, bool) else _toml(value)}\n"
        for name, value in given_values.items()
    )
    try:
        settings = parse_settings(LEAST + written)
    except UsageError as error:
        assert any(name in str(error) for name in ("grace_s", "self_fence"))
    else:
        for name, value in given_values.items():
            assert getattr(settings, name) == value


@given(st.text())
def test_any_text_is_settings_or_sentences(text: str):
    try:
        parse_settings(text, "w.toml")
    except UsageError as error:
        assert all(line.startswith("w.toml") for line in str(error).split("\n"))


@given(st.fixed_dictionaries({}, optional={name: st.integers() | st.text() | st.booleans() for name in BY_NAME}))
def test_wrong_types_are_never_taken(document):
    lines = [f"{name} = {_toml(value)}" for name, value in document.items()]
    try:
        settings = parse_settings("\n".join(lines))
    except UsageError:
        return
    for name in document:
        value = getattr(settings, name)
        assert isinstance(value, BY_NAME[name].kind)


def _toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in value if not 0xD800 <= ord(c) < 0xE000) + '"'
    if isinstance(value, float):
        return repr(value)
    return str(max(-(2**63), min(value, 2**63 - 1)))


def test_what_is_described_reads_back():
    settings = parse_settings('devices = ["/dev/sdb", "/dev/sdc"]\nlocal_node = "a\\\\b\\"c"\n', "x")
    assert parse_settings(describe(settings._asdict()), "x") == settings
