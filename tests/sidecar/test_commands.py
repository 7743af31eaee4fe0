# SPDX-License-Identifier: Apache-2.0
"""What an operator types, and the files and the unit around it."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencer.errors import UsageError
from fencer.sidecar import commands, control
from fencer.sidecar.commands import duration_s
from fencer.sidecar.config import BY_NAME
from fencer.sidecar.configuration import read_config
from fencer.sidecar.control import ControlSocket, Pause, Resume
from fencer.state.last_self_fence import SelfFence, read_last, write_last
from fencer.state.snapshot import PolicyState, Snapshot, WatchdogSnapshot
from fencer.state.snapshot_file import read_snapshot, write_snapshot
from fencer.storage.lun import SharedLuns

ROOT = Path(__file__).parents[2]
BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
ARMED = WatchdogSnapshot("/dev/watchdog0", "i6300ESB timer", True, False, 5.0, 1.7, 12, 3.0, 1.8, 0)

INTERVAL_S = 60.0
"""Of the snapshots here: one is fresh for some of them, also where the command starts late on a busy machine."""


def snapshot(state: PolicyState, boot_id: str = BOOT_ID, age_s: float = 0.0) -> Snapshot:
    now = time.monotonic() - age_s
    return Snapshot(
        boot_id, 1, "0", "serv-0001", "0xa1", time.time(), now, 0.0, INTERVAL_S, state, ("a reason",), 10.0, None, 2.0,
        24.0, None, ARMED, (), (), 0, "", 0.0, 0,
    )  # fmt: skip


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    path = tmp_path / "watchdogd.toml"
    more = 'watchdog = "none"\nself_fence = "none"\nlocal_key = "0xa1"\n'
    path.write_text(f'vg = "shared_vg"\nstate_dir = "{tmp_path}/run"\nrecord_dir = "{tmp_path}/lib"\n{more}')
    return path


def halvm_watchdogd(*words: object) -> tuple[int, str, str]:
    command = [sys.executable, str(ROOT / "agents/halvm_watchdogd.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (PolicyState.KEEPALIVE, 0),
        (PolicyState.PAUSED, 0),
        (PolicyState.DEGRADED, 2),
        (PolicyState.STARTING, 2),
        (PolicyState.SELF_FENCE, 1),
        (PolicyState.STOPPED, 1),
    ],
)
def test_status_tells_the_state(configured: Path, state: PolicyState, status: int):
    write_snapshot(str(configured.parent / "run"), snapshot(state))
    rc, out, _ = halvm_watchdogd("status", "--config", configured)
    assert rc == status
    assert f"serv-0001 (key 0xa1): {state}" in out and "worst gap 1.80 s" in out


@pytest.mark.parametrize("old", [{"age_s": 600.0}, {"boot_id": "another"}])
def test_a_state_that_is_old_is_none(configured: Path, old):
    write_snapshot(str(configured.parent / "run"), snapshot(PolicyState.KEEPALIVE, **old))
    rc, out, _ = halvm_watchdogd("status", "-c", configured)
    assert rc == 1 and "NOT RUNNING" in out


def test_status_of_what_never_ran(configured: Path):
    rc, _, err = halvm_watchdogd("status", "-c", configured)
    assert rc == 1 and "it has not run since this node booted" in err


def test_last_tells_the_reason(configured: Path):
    assert "no self-fence is on record" in halvm_watchdogd("last", "-c", configured)[1]
    record = SelfFence("preempted: sdb: our key was preempted", "serv-0001", "another-boot", 1.8e9, 5.0)
    write_last(str(configured.parent / "lib"), record)
    assert read_last(str(configured.parent / "lib")) == record
    rc, out, _ = halvm_watchdogd("last", "-c", configured)
    assert rc == 0
    assert "2027-01-15 08:00:00 UTC: serv-0001 fenced itself: preempted: sdb: our key was preempted" in out
    assert "this very boot" not in out


def test_last_of_this_boot_says_that_the_reset_has_not_come(configured: Path):
    write_last(str(configured.parent / "lib"), SelfFence("x", "serv-0001", BOOT_ID, 1.8e9, 5.0))
    assert "the reset has not come yet" in halvm_watchdogd("last", "-c", configured)[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-c", "/nowhere.toml"), 'make it; one line will do: vg = "shared_vg"'),
        (("status", "-c", "/nowhere.toml"), "make it"),
        (("pause", "--for", "soon"), "'soon' is no time up to 24 h"),
        (("resume",), "is halvm-watchdogd running?"),
        (("frob",), "invalid choice: 'frob' (choose from "),
        (("status", "--frob"), "unrecognized arguments: --frob: see halvm-watchdogd --help"),
        (("pause",), "the following arguments are required: --for: see halvm-watchdogd pause --help"),
    ],
)
def test_what_does_not_work_is_one_sentence(configured: Path, words, sentence):
    given_words = words if "-c" in words else (*words, "-c", configured)
    rc, out, err = halvm_watchdogd(*given_words)
    assert (rc, out) == (1, "")
    assert sentence in err and "Traceback" not in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("words", [("status",), ("last",), ("pause", "--for", "10m"), ("resume",)])
@pytest.mark.parametrize("option", ["--config=/nowhere.toml", "-c/nowhere.toml"])
def test_the_file_is_taken_before_and_after_the_word(words: tuple[str, ...], option: str):
    for given_words in ((option, *words), (*words, option)):
        assert "/nowhere.toml: No such file or directory" in halvm_watchdogd(*given_words)[2]


@pytest.mark.parametrize("words", [("run", "--check-config"), ("--check-config", "run"), ("--check-config",)])
def test_the_file_to_check_is_taken_before_and_after_the_word(words: tuple[str, ...]):
    option = "--config=/nowhere.toml"
    for given_words in ((option, *words), (*words, option)):
        assert "/nowhere.toml: No such file or directory" in halvm_watchdogd(*given_words)[2]


def test_the_default_file_is_named_in_the_help():
    assert "default: /etc/fence-halvm/watchdogd.toml" in " ".join(halvm_watchdogd("status", "--help")[1].split())


def test_the_help_says_that_the_bare_command_arms_a_watchdog():
    rc, out, _ = halvm_watchdogd("--help")
    said = " ".join(out.split())
    assert rc == 0 and "WITHOUT A WORD IT RUNS" in said and "ARMS A WATCHDOG" in said
    for example in ("--check-config", "systemctl enable --now halvm-watchdogd", "pause --for 10m", "last"):
        assert example in said.partition("examples:")[2]


def test_run_says_where_its_file_stands(configured: Path):
    rc, _, err = halvm_watchdogd("-c", configured, "run")
    assert rc == 1 and err == "halvm-watchdogd: run takes --config=FILE only, and after the word\n"


def test_check_config_tells_every_complaint(configured: Path):
    configured.write_text("grace = 1\nrequire = 3\n")
    rc, _, err = halvm_watchdogd("--check-config", "--config", configured)
    assert rc == 1
    assert f"{configured} line 1: grace: " in err and f"{configured} line 2: require: " in err


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ('vg = "fence_halvm_no_such_vg"', "vg: "),
        ('vg = "a/b"', "vg: 'a/b' is not a volume group name: give the name that vgs shows"),
        ('devices = ["/dev/null"]', "devices: /dev/null is not a block device: give a shared SCSI disk, or a volume"),
        ('devices = ["/dev/sd_none"]', "devices: /dev/sd_none does not exist on this node: connect the storage"),
    ],
)
def test_check_config_tells_luns_and_watchdog_at_once_with_their_lines(tmp_path: Path, setting: str, complaint: str):
    path = tmp_path / "watchdogd.toml"
    path.write_text(f'local_key = "0xa1"\n{setting}\nwatchdog = "/dev/watchdog_none"\n')
    rc, out, err = halvm_watchdogd("--check-config", "-c", path)
    assert (rc, out) == (1, "")
    luns, watchdog = err.splitlines()
    assert luns.startswith(f"halvm-watchdogd: {path} line 2: {complaint}") and "power" not in luns
    assert watchdog.startswith(f"halvm-watchdogd: {path} line 3: watchdog: there is no /dev/watchdog_none: load its")


def test_check_config_tells_of_an_array_that_lacks_a_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "watchdogd.toml"
    path.write_text('local_key = "0xa1"\nvg = "shared_vg"\nwatchdog = "none"\n')
    lacking = "/dev/md0: array md0 lacks 1 of its members"
    monkeypatch.setattr(commands, "_shared", lambda _storage: SharedLuns((), (), (lacking,)))
    assert lacking in commands._advice(read_config(str(path)))


def test_what_the_clusters_files_refuse_is_told_with_its_line(configured: Path):
    cluster_conf = configured.parent / "cluster.conf"
    nodes = '<clusternode name="serv-0001" nodeid="1"/><clusternode name="serv-0002" nodeid="2"/>'
    cluster_conf.write_text(f'<cluster name="c" config_version="1"><clusternodes>{nodes}</clusternodes></cluster>')
    configured.write_text(f'vg = "x"\ncluster_conf = "{cluster_conf}"\nlocal_node = "serv-0003"\n')
    rc, _, err = halvm_watchdogd("--check-config", "-c", configured)
    assert rc == 1
    assert err.startswith(f"halvm-watchdogd: {configured} line 3: local_node: {cluster_conf} has no node serv-0003")


@pytest.mark.parametrize(("text", "seconds"), [("600", 600), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("5min", 300)])
def test_times(text: str, seconds: float):
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "25h", "1d", "m", "1 0", "1e3"])
def test_what_is_no_time(text: str):
    with pytest.raises(UsageError):
        duration_s(text)


def test_an_order_is_answered(tmp_path: Path):
    server = ControlSocket(str(tmp_path))
    assert (tmp_path / control.SOCKET_NAME).stat().st_mode & 0o777 == 0o600

    def serve() -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if (question := server.receive()) is not None:
                assert question.order == Pause(60.0)
                server.answer(question, "paused")
                return
            time.sleep(0.01)

    thread = threading.Thread(target=serve)
    thread.start()
    assert control.ask(str(tmp_path), Pause(60.0)) == "paused"
    thread.join()


def test_only_the_sidecars_answer_is_believed(tmp_path: Path):
    """An operator who reads "paused" unmaps storage."""
    server = ControlSocket(str(tmp_path))
    told: list[object] = []

    def ask() -> None:
        try:
            told.append(control.ask(str(tmp_path), Pause(60.0)))
        except UsageError as error:
            told.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    end = time.monotonic() + 60
    while (question := server.receive()) is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger, pytest.raises(PermissionError):
        stranger.sendto(b"done paused until 23:59:59", question.asker)
    server.answer(question, "not now", done=False)
    thread.join(60)
    assert [str(each) for each in told] == ["not now"]


BROKEN = ["", "vg = shared_vg\n", "vg = 'x'\nfrob = 1\n", "\x00\xff"]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_takes_no_word_from_the_operator(tmp_path: Path, text: str):
    config = tmp_path / "watchdogd.toml"
    config.write_text(f'state_dir = "{tmp_path}/run"\n  record_dir = "{tmp_path}/lib"\n{text}')
    write_snapshot(str(tmp_path / "run"), snapshot(PolicyState.KEEPALIVE))
    rc, out, err = halvm_watchdogd("status", "-c", config)
    assert (rc, "serv-0001 (key 0xa1): keepalive" in out) == (0, True)
    assert f"looked below {tmp_path}/run and {tmp_path}/lib all the same" in err
    assert halvm_watchdogd("last", "-c", config)[0] == 0
    server = ControlSocket(str(tmp_path / "run"))
    with subprocess.Popen(
        [sys.executable, str(ROOT / "agents/halvm_watchdogd.py"), "pause", "--for", "10m", "-c", str(config)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        end = time.monotonic() + 60
        while (question := server.receive()) is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        server.answer(question, "paused until then")
        assert process.communicate(timeout=60)[0] == "paused until then\n"


def test_no_bound_is_told_while_it_is_paused(configured: Path):
    write_snapshot(str(configured.parent / "run"), snapshot(PolicyState.PAUSED))
    out = halvm_watchdogd("status", "-c", configured)[1]
    assert "so no bound holds; a preemption still resets at once" in out
    assert "at the latest" not in out
    write_snapshot(str(configured.parent / "run"), snapshot(PolicyState.KEEPALIVE))
    assert "reset at the latest 24 s after" in halvm_watchdogd("status", "-c", configured)[1]


@given(st.binary())
def test_any_bytes_are_an_order_or_none(data: bytes):
    with contextlib.suppress(ValueError):
        assert isinstance(control.parse(data), Pause | Resume)


@given(st.integers() | st.floats() | st.text())
def test_only_a_sensible_time_pauses(for_s: object):
    try:
        order = control.parse(f"pause {for_s}".encode(errors="replace"))
    except ValueError:
        return
    assert isinstance(order, Pause) and 0 < order.for_s <= control.LONGEST_PAUSE_S


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": 2}', b'{"schema": 1}', b"\xff" * 100])
def test_a_torn_snapshot_is_told_apart(tmp_path: Path, content: bytes):
    (tmp_path / "watchdogd.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        read_snapshot(str(tmp_path))


def test_a_snapshot_reads_back(tmp_path: Path):
    written = snapshot(PolicyState.DEGRADED)
    write_snapshot(str(tmp_path), written)
    assert read_snapshot(str(tmp_path)) == written
    assert (tmp_path / "watchdogd.json").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["watchdogd.json"]


def test_a_stop_before_the_configuration_is_read_says_what_may_come(tmp_path: Path):
    reading = tmp_path / "reading"
    program = (
        "import os, pathlib, time\n"
        "from fencer.sidecar import config\n"
        "def read(path, **_more):\n"  # from a disk that does not answer
        f"    pathlib.Path({str(reading)!r}).touch()\n"
        "    time.sleep(60)\n"
        "config.read_regular_file = read\n"
        "from fencer.sidecar.main import main\n"
        "os._exit(main())\n"
    )
    command = [sys.executable, "-c", program, "--config", str(tmp_path / "w")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 60
        while not reading.exists():
            assert time.monotonic() < end, "nobody reads it"
            time.sleep(0.02)
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "a watchdog that a predecessor left running resets this node unless halvm-watchdogd is started again" in err


def test_the_man_page_names_every_word_and_exit_status():
    page = (ROOT / "packaging/halvm-watchdogd.8").read_text().replace("\\", "")
    for word in ("status", "last", "pause", "resume", "run", "--check-config", "SIGHUP", "SIGTERM"):
        assert word in page
    assert "1 wrong usage" in page and "2 only from" in page
    assert "3 this node was preempted" in page and "70 a fault" in page


def test_the_documentation_has_every_setting():
    page = (ROOT / "docs/watchdogd.md").read_text()
    for name, setting in BY_NAME.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert (row.split("|")[3].strip() == "yes") is setting.reload
        assert setting.means in row
