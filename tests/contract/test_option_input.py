# SPDX-License-Identifier: Apache-2.0
"""argv and stdin: what is taken, what is warned about, what is refused; and stdin as each cluster manager writes it."""

import io

import peer_options
import pytest

from fencer.agent.option import ValueKind
from fencer.agent.option_input import MAX_STDIN_BYTES, check, parse_argv, parse_stdin, read_stdin, with_defaults
from fencer.agent.options import BY_NAME, OPTIONS
from fencer.errors import UsageError

# --- stdin, line by line ---


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("\n \n# ip=1\n  # ip=2\n", {}),
        ("  ip=10.0.0.1  \n", {"ip": "10.0.0.1"}),
        ("ip=10.0.0.1", {"ip": "10.0.0.1"}),
        ("ip=10.0.0.1\r\nmethod=cycle\r", {"ip": "10.0.0.1", "method": "cycle"}),
        ("password=a=b=c", {"password": "a=b=c"}),
        ("password=", {"password": ""}),
        ("password", {"password": ""}),
        ('password="two words"', {"password": "two words"}),
        ('password=""quoted""', {"password": '"quoted"'}),
        ('password="', {"password": '"'}),
        ('password=""', {"password": ""}),
        ('password="open', {"password": '"open'}),
        ("password='single'", {"password": "'single'"}),
        ("password=# no comment", {"password": "# no comment"}),
        ("password= leading", {"password": "leading"}),
        ('password=" kept "', {"password": " kept "}),
        ('ipaddr=" 10.0.0.5 "', {"ip": "10.0.0.5"}),
        ("ipaddr= 10.0.0.5\u00a0", {"ip": "10.0.0.5"}),
        ("lanplus= yes", {"lanplus": "1"}),
        ("password=form\ffeed", {"password": "form\ffeed"}),
        ("ip=1\nip=2", {"ip": "2"}),
        ("ip=1\nipaddr=2", {"ip": "2"}),
        ("ipaddr=1\nip=2", {"ip": "2"}),
        ("power-timeout=7", {"power_timeout": "7"}),
        ("passwd-script=/bin/x", {"password_script": "/bin/x"}),
        ("sg_persist-path=/x", {"sg_persist_path": "/x"}),
        ("option=off", {"action": "off"}),
        ("secure=1", {"ssh": "1"}),
        ("lanplus=YES", {"lanplus": "1"}),
        ("lanplus=off", {"lanplus": "0"}),
    ],
)
def test_stdin_line(text, values):
    given = parse_stdin(text)
    assert dict(given.values) == values
    assert given.warnings == ()
    assert given.from_stdin


def test_unknown_names_are_warned_about_and_ignored():
    given = parse_stdin("action=off\nip=1\nfrobnicate=1\nIP=2\nip =3")
    assert given.values["action"] == "off"
    given = given._replace(values={"ip": given.values["ip"]})
    assert dict(given.values) == {"ip": "1"}
    assert given.warnings == tuple(f"stdin: line {n} names no option of this agent and is ignored" for n in (3, 4, 5))


def test_a_boolean_that_is_none_is_ignored_and_changes_nothing():
    given = parse_stdin("lanplus=1\nlanplus=maybe\nlanplus=")
    assert dict(given.values) == {"lanplus": "1"}
    assert len(given.warnings) == 2


def test_warnings_never_show_a_value():
    given = parse_stdin("action=on\npasword=hunter2\nhunter2\nlanplus=hunter2\nverbose_level=hunter2\nipaddr=hunter2")
    assert len(given.warnings) == 4
    assert "hunter2" not in " ".join(given.warnings)
    assert "hunter2" not in " ".join(parse_argv(["-o", "on", "-P", "hunter2"]).warnings)


def test_warnings_stay_far_below_a_pipe():
    """fenced does not read our stderr while it waits."""
    given = parse_stdin("\n".join(f"{'x' * 500}{i}=1" for i in range(2000)))
    assert len("\n".join(given.warnings)) < 4096
    assert given.warnings[-1] == "1980 more warnings are not shown"


def test_bytes_that_are_no_utf8_survive():
    given = parse_stdin(read_stdin(io.BytesIO(b"password=\xff\xfe\nfr\xffob=1\n")))
    assert given.values["password"].encode("utf-8", "surrogateescape") == b"\xff\xfe"
    assert given.warnings[0].isascii()


def test_a_megabyte_is_read_and_more_is_refused():
    assert len(read_stdin(io.BytesIO(b"a" * MAX_STDIN_BYTES))) == MAX_STDIN_BYTES
    with pytest.raises(UsageError, match="more than 1048576 bytes"):
        read_stdin(io.BytesIO(b"a" * (MAX_STDIN_BYTES + 1)))


# --- stdin as cluster managers write it ---


def test_as_fenced_writes_it():
    """cman: per-node attributes, then nodename, then the fencedevice's attributes, which so override them."""
    given = parse_stdin(
        "action=reboot\nport=wrong\npower_wait=4\nnodename=serv-0001\n"
        "agent=fence_halvm\nname=halvm1\nipaddr=192.168.1.50\nlogin=ADMIN\n"
        "passwd_script=/etc/cluster/bmc-password\nlanplus=1\nvg=shared_vg\nport=serv-0001\n"
    )
    assert dict(given.values) == {
        "action": "reboot",
        "plug": "serv-0001",
        "power_wait": "4",
        "nodename": "serv-0001",
        "ip": "192.168.1.50",
        "username": "ADMIN",
        "password_script": "/etc/cluster/bmc-password",
        "lanplus": "1",
        "vg": "shared_vg",
    }
    assert given.warnings == ()
    check(given.values)


def test_as_fenced_unfences():
    given = parse_stdin("action=on\nnodename=serv-0002\nname=halvm2\nagent=fence_halvm\nvg=shared_vg\n")
    full = with_defaults(given.values, {})
    assert (full["action"], full["nodename"], full["proof"]) == ("on", "serv-0002", "storage")
    assert given.warnings == ()


def test_as_an_old_cluster_conf_asks():
    given = parse_stdin("agent=fence_halvm\noption=OFF\nipaddr=10.0.0.1\nlogin=root\npasswd=calvin\nnodename=n1\n")
    assert with_defaults(given.values, {})["action"] == "off"
    assert given.warnings == ()


def test_as_dlm_controld_fences():
    """dlm 4.2, fence_config.c and fence.c: the device's words, the connection's, each blank a line break; node= with a
    number unless those have it; fail_time=. Neither nodename nor agent nor, for a fence, action."""
    given = parse_stdin("ipaddr=10.0.0.1\nlogin=a\npasswd=b\nvg=shared_vg\nnode=2\nfail_time=1764272535\n")
    assert dict(given.values) == {
        "ip": "10.0.0.1",
        "username": "a",
        "password": "b",
        "vg": "shared_vg",
        "node": "2",
        "fail_time": "1764272535",
    }
    assert given.warnings == ()
    assert with_defaults(given.values, {})["action"] == "reboot"
    check(given.values)


def test_as_dlm_controld_unfences():
    given = parse_stdin("ipaddr=10.0.0.1\nvg=shared_vg\nnode=1\naction=on\n")
    assert (given.values["action"], given.values["node"]) == ("on", "1")
    assert given.warnings == ()
    check(given.values)


@pytest.mark.parametrize("name", ["plug", "port"])
def test_as_pacemaker_writes_it(name):
    """Unordered, unquoted, nodename and plug (or port), node id, action last or first."""
    lines = ["nodename=serv-0001", f"{name}=serv-0001", "nodeid=1", "action=off", "ip=10.0.0.1", "password=a b"]
    expected = {"nodename": "serv-0001", "plug": "serv-0001", "action": "off", "ip": "10.0.0.1", "password": "a b"}
    for order in (lines, lines[::-1]):
        given = parse_stdin("\n".join(order) + "\n")
        assert dict(given.values) == expected
        assert given.warnings == ()
    full = with_defaults(expected, {"PCMK_service": "pacemaker-fenced"})
    assert full["disable_timeout"] == "1"


def test_metadata_is_asked_for_by_pacemaker():
    given = parse_stdin("action=metadata\n")
    check(given.values)
    assert with_defaults(given.values, {})["action"] == "metadata"


# --- the command line ---


def test_short_and_long_options_and_the_last_one_wins():
    given = parse_argv(["-a", "h1", "--ip=h2", "-lADMIN", "--password", "x", "-P", "-ooff", "-ostatus", "--ip", "h3"])
    assert dict(given.values) == {"ip": "h3", "username": "ADMIN", "password": "x", "lanplus": "1", "action": "status"}
    assert not given.from_stdin
    assert given.warnings == ()


def test_plug_needs_no_port_as_ip():
    """fence_ipmilan refuses -n without --port-as-ip; for us it is the node's name."""
    assert parse_argv(["-n", "serv-0001"]).values["plug"] == "serv-0001"


def test_prefixes_of_long_options():
    assert dict(parse_argv(["--power-t", "5", "--meth=cycle", "--user=a"]).values) == {
        "power_timeout": "5",
        "method": "cycle",
        "username": "a",
    }


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--frobnicate"], "option --frobnicate not recognized"),
        (["-Z"], "option -Z not recognized"),
        (["--power", "1"], "option --power not a unique prefix"),
        (["-a"], "option -a requires argument"),
        (["--ip"], "option --ip requires argument"),
        (["--lanplus=1"], "option --lanplus must not have an argument"),
        (["--\udcff"], "option --\\udcff not recognized"),
        (["-\x1b[2J"], "option -\\x1b not recognized"),
        (["--" + "x" * 200], "option --" + "x" * 71 + "..."),
    ],
)
def test_bad_command_line(argv, message):
    with pytest.raises(UsageError) as caught:
        parse_argv(argv)
    assert str(caught.value) == f"Command line: {message}: see --help"


def test_left_over_words_are_counted():
    given = parse_argv(["-o", "on", "off", "-a", "h", "--", "-x"])
    assert dict(given.values) == {"action": "on", "ip": "h"}
    assert given.warnings == ("Command line: 2 argument(s) belong to no option and are ignored: see --help",)
    assert given.stray_words == 2


@pytest.mark.parametrize("row", OPTIONS, ids=lambda row: row.name)
def test_every_option_is_accepted_in_every_spelling(row):
    text, value = ("1", ["1"]) if row.kind is ValueKind.BOOLEAN else ("v=1", ["v=1"])
    flags = [f"--{row.long}"] + ([f"-{row.letter}"] if row.letter else [])
    for flag in flags:
        assert parse_argv([flag] if row.kind is ValueKind.BOOLEAN else [flag, *value]).values[row.name] == text
    text = text if row.on_stdin else "0"
    for name in row.names:
        for spelling in (name, name.replace("_", "-")):
            assert parse_stdin(f"{spelling}={text}").values[row.name] == text


@pytest.mark.peer
@pytest.mark.parametrize("agent", ["fence_ipmilan", "fence_scsi"])
def test_every_option_of_the_installed_peer_is_accepted(agent):
    for peer in peer_options.read_metadata(peer_options.metadata_of(agent)):
        flag = peer.type == "boolean"
        name = BY_NAME[peer.name.replace("-", "_")].name
        assert name in parse_stdin(f"{peer.name}={int(BY_NAME[name].on_stdin)}").values
        for spelling in peer.flags:
            if (agent, spelling) != ("fence_scsi", "-a"):  # --ip here, as in fence_ipmilan
                assert name in parse_argv([spelling] if flag else [spelling, "1"]).values


# --- verbosity ---


@pytest.mark.parametrize(
    ("argv", "level"),
    [
        ([], 0),
        (["-v"], 1),
        (["-vvv"], 3),
        (["-v", "--verbose"], 2),
        (["--verbose-level=2"], 2),
        (["-vv", "--verbose-level=1"], 1),
    ],
)
def test_verbosity_of_a_command_line(argv, level):
    assert parse_argv(argv).verbosity == level


@pytest.mark.parametrize(
    ("text", "level", "warned"),
    [
        ("verbose=1", 1, False),
        ("verbose=no", 0, False),
        ("verbose=0", 0, False),
        ("verbose=2", 2, False),
        ('verbose="3"', 3, False),
        ("verbose=99999999", 9, False),
        ("verbose=-1", 0, True),
        ("verbose=2\nverbose=off", 0, False),
        ("verbose_level=3", 3, False),
        ("verbose=1\nverbose_level=0", 0, True),
        ("verbose_level=-1", 0, True),
        ("verbose_level=much", 0, True),
        ("verbose_level=", 0, True),
        ("verbose_level=1.5", 0, True),
    ],
)
def test_verbosity_of_stdin(text, level, warned):
    given = parse_stdin(text)
    assert given.verbosity == level
    assert bool(given.warnings) is warned
    check(given.values)  # how much is said must not decide whether a node is fenced


def test_options_without_effect_are_named_at_v():
    assert parse_stdin("lanplus=1\nauth=md5").warnings == ()
    assert parse_stdin("lanplus=1\nauth=md5\nverbose=1").warnings == ("Accepted without effect here: auth, lanplus",)


# --- check and defaults ---


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("power_timeout", "soon", "power_timeout: not a time: give seconds, 0 or more"),
        ("power_timeout", "-1", "power_timeout: not a time: give seconds, 0 or more"),
        ("delay", "", "delay: not a time: give seconds, 0 or more"),
        ("delay", "nan", "delay: not a time: give seconds, 0 or more"),
        ("delay", "1e3", "delay: not a time: give seconds, 0 or more"),
        ("delay", "1.2.3", "delay: not a time: give seconds, 0 or more"),
        ("delay", "\u0665", "delay: not a time: give seconds, 0 or more"),
        ("ipport", "0x26f", "ipport: not a whole number: give 0 or more"),
        ("retry_on", "1.5", "retry_on: not a whole number: give 0 or more"),
        ("method", "on-off", "method: not a choice: give one of onoff, cycle"),
        ("privlvl", "root", "privlvl: not a choice: give one of callback, user, operator, administrator"),
        ("password", "a\0b", "password: contains a NUL byte: remove it"),
    ],
)
def test_check_refuses(name, text, message):
    with pytest.raises(UsageError) as caught:
        check({name: text})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "text"), [("rank_slot", "0.25"), ("delay", "0"), ("method", "CYCLE"), ("proof", "Any")]
)
def test_check_accepts(name, text):
    check({name: text})


def test_an_unknown_action_is_told_in_the_words_that_pacemaker_reads():
    with pytest.raises(UsageError, match="Failed: Unrecognised action 'explode': give one of on, off"):
        check({"action": "explode"})
    with pytest.raises(UsageError, match="Unrecognised action ''"):
        check({"action": ""})


@pytest.mark.parametrize("asked", [{"action": "metadata"}, {"action": "MANPAGE"}, {"help": "1"}, {"version": "1"}])
def test_documentation_is_given_whatever_else_is_wrong(asked):
    check({"delay": "soon", **asked})


def test_defaults():
    full = with_defaults({}, {})
    for row in OPTIONS:
        if row.default is not None:
            assert full.pop(row.name) == row.default
    assert full == {"disable_timeout": "0", "proof": "storage", "deadline": "30"}


@pytest.mark.parametrize(
    ("values", "environ", "name", "text"),
    [
        ({"ip": "h"}, {}, "proof", "power"),
        ({"ip": ""}, {}, "proof", "storage"),
        ({"ip": "h", "proof": "ALL"}, {}, "proof", "all"),
        ({"power_timeout": "20"}, {}, "deadline", "30"),
        ({"power_timeout": "45.5"}, {}, "deadline", "55.5"),
        ({"power_timeout": "123456789"}, {}, "deadline", "123456799"),
        ({"power_timeout": "60", "deadline": "5"}, {}, "deadline", "5"),
        ({"action": "monitor"}, {}, "deadline", "14"),
        ({}, {"PCMK_service": "pacemaker-fenced"}, "deadline", "50"),
        ({"reservation_type": "wero"}, {}, "reservation_type", "WERO"),
        ({"action": "Meta-Data"}, {}, "action", "metadata"),
        ({"plug": "h", "port_as_ip": "1"}, {}, "ip", "h"),
        ({"plug": "h", "port_as_ip": "1"}, {}, "proof", "power"),
        ({}, {"PCMK_service": "pacemaker-fenced"}, "disable_timeout", "1"),
        ({}, {"PCMK_service": "pacemaker-execd"}, "disable_timeout", "0"),
        ({"disable_timeout": "false"}, {"PCMK_service": "pacemaker-fenced"}, "disable_timeout", "0"),
        ({"disable_timeout": "True"}, {}, "disable_timeout", "1"),
    ],
)
def test_a_default_that_depends(values, environ, name, text):
    assert with_defaults(values, environ)[name] == text


def test_what_is_given_is_not_changed():
    values = {"method": "CYCLE"}
    with_defaults(values, {})
    assert values == {"method": "CYCLE"}
