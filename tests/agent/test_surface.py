# SPDX-License-Identifier: Apache-2.0
"""Options that change what is said or when, streams that are closed, and the shapes of calls that callers make."""

import fcntl
import io
import subprocess
import sys
from pathlib import Path

import pytest

from fencer import __version__
from fencer.agent.main import Agent
from tests.agent.halvm import AGENT, ENVIRONMENT, Call, at, halvm
from tests.agent.test_bad_input import CLUSTER
from tests.rig.bmc import Bmc
from tests.rig.udp_proxy import UdpProxy

# --- delay ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["off", "reboot"])
def test_delay_elapses_before_anything_is_sent(bmc: Bmc, action: str) -> None:
    outcome = halvm(*at(bmc), "-o", action, "--delay=1")
    assert outcome.status == 0
    assert outcome.took_s >= 1


@pytest.mark.slow
def test_delay_is_not_part_of_the_deadline(bmc: Bmc) -> None:
    assert halvm(*at(bmc), "-o", "off", "--delay=8.1", "--deadline=8").status == 0


@pytest.mark.parametrize("action", ["status", "monitor", "on", "list", "validate-all"])
def test_delay_is_for_off_and_reboot_only(bmc: Bmc, action: str) -> None:
    assert halvm(*at(bmc), "-o", action, "--delay=30").took_s < 25


# --- words ----------------------------------------------------------------------------------------------------------


def test_an_off_tells_its_proof(bmc: Bmc) -> None:
    outcome = halvm(*at(bmc), "-o", "off", "-n", "serv-0001")
    assert len(outcome.lines) == 1
    assert outcome.lines[0].startswith("off serv-0001: proved by power (chassis read back off), in ")


def test_status_says_nothing_on_stderr(bmc: Bmc) -> None:
    assert halvm(*at(bmc), "-o", "status").stderr == ""


def test_verbose_tells_each_step_once_with_its_time(bmc: Bmc) -> None:
    outcome = halvm(*at(bmc), "-P", "-o", "reboot", "-v")
    steps = [line.partition("BMC ")[2] for line in outcome.lines if " s  (+" in line]
    who = bmc.address
    assert steps == [
        f"{who}: cipher suite 3, since the BMC does not take suite 17",
        f"{who}: session open",
        f"{who}: chassis power is on",
        f"{who}: chassis command off accepted",
        f"{who}: chassis power is off",
        f"{who}: chassis command on accepted",
        f"{who}: chassis power is on",
    ]
    assert len([line for line in outcome.lines if "lanplus" in line]) == 1
    assert len(outcome.lines) == len(set(outcome.lines))


def test_quiet_leaves_the_verdict(bmc: Bmc) -> None:
    outcome = halvm(*at(bmc), "-o", "off", "-q")
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, "Success: Powered OFF\n", "")


def test_the_debug_file_has_all_steps_also_when_quiet(bmc: Bmc, tmp_path: Path) -> None:
    debug = tmp_path / "debug"
    outcome = halvm(*at(bmc), "-o", "off", "-q", "-D", str(debug))
    assert outcome.stderr == ""
    assert "session open" in debug.read_text()
    assert "proved by power" in debug.read_text()
    halvm(*at(bmc), "-o", "on", "-D", str(debug))
    assert "proved by power" in debug.read_text(), "it is appended to"


def test_version_and_help() -> None:
    assert halvm("--version").stdout == halvm("-V").stdout == f"{__version__}\n"
    assert "--deadline" in halvm("--help").stdout


WORDS = {
    "off": "switch off serv-0001",
    "reboot": "reboot serv-0001",
    "on": "switch on serv-0001",
    "status": "read the state of serv-0001",
    "monitor": "check a fence of serv-0001",
}


@pytest.mark.parametrize("action", WORDS)
def test_a_dry_run_prints_the_plan_and_sends_nothing(bmc: Bmc, proxy: UdpProxy, action: str) -> None:
    outcome = halvm(*at(bmc, proxy.port), "-o", action, "-n", "serv-0001", "--dry-run", "--delay=60")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith(f"Plan to {WORDS[action]} (nothing is sent):\n  1. ")
    assert outcome.took_s < 30
    assert proxy.passed.to_bmc == 0
    assert bmc.log() == []


# --- streams --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full"])
def test_a_fence_works_whatever_is_closed(bmc: Bmc, closed: str) -> None:
    command = " ".join((AGENT, *at(bmc), "-o", "off", "-v", closed))
    call = Call("-c", command, program=("/bin/sh",))
    outcome = call.end()
    call.assert_all_gone()
    assert outcome.status == 0
    assert "Traceback" not in outcome.stderr
    assert bmc.power == "off"


@pytest.mark.parametrize("action", ["metadata", "status", "off"])
def test_no_traceback_for_a_reader_that_is_gone(bmc: Bmc, action: str) -> None:
    command = " ".join((AGENT, *at(bmc), "-o", action, "|", "true"))
    outcome = Call("-c", command, program=("/bin/sh",)).end()
    assert "Traceback" not in outcome.stderr
    assert "Exception" not in outcome.stderr


def test_metadata_that_cannot_be_written_is_a_failure() -> None:
    outcome = Call("-c", f"{AGENT} -o metadata >/dev/full", program=("/bin/sh",)).end()
    assert (outcome.status, len(outcome.lines)) == (1, 1)


def test_closed_stdin_without_options_is_bad_input() -> None:
    outcome = Call("-c", f"{AGENT} <&-", program=("/bin/sh",)).end()
    assert outcome.status == 1
    assert outcome.lines[0].startswith("ERROR: ip: ")


def test_a_caller_that_reads_nothing_is_not_waited_for(bmc: Bmc) -> None:
    """fenced reads the output when the agent has ended. Here the pipe holds 4 KiB, not 64."""
    process = subprocess.Popen(
        [AGENT, *at(bmc), "-o", "reboot", "-vvv"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdout is not None
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    assert process.wait(timeout=120) == 0
    assert b"Success: Rebooted" in process.stdout.read()


# --- callers --------------------------------------------------------------------------------------------------------


def test_as_fenced_writes_it(bmc: Bmc) -> None:
    """Device attributes, nodename=, then the fencedevice's; no action: reboot. Nobody reads a warning about these."""
    lines = ["nodename=serv-0001", "name=halvm1", "agent=fence_halvm", f"ipaddr={bmc.address}", f"ipport={bmc.port}"]
    outcome = halvm(stdin="\n".join([*lines, "login=ADMIN", "passwd=ADMIN", "lanplus=1"]) + "\n")
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, "Success: Rebooted\n", "")
    assert bmc.power == "on"


def dlm(bmc: Bmc, *more: str) -> str:
    """What dlm_controld 4.2 writes: the words of dlm.conf's device and connect lines, then its own."""
    return "\n".join((f"ipaddr={bmc.address}", f"ipport={bmc.port}", "login=ADMIN", "passwd=ADMIN", *more, ""))


def test_as_dlm_controld_fences(bmc: Bmc, cluster_conf: Path) -> None:
    cluster_conf.write_text(CLUSTER)
    known = (f"cluster_conf={cluster_conf}", "local_node=serv-0002")
    outcome = halvm(stdin=dlm(bmc, *known, "node=1", "fail_time=1764272535"))
    assert (outcome.status, outcome.stdout) == (0, "Success: Rebooted\n")
    assert bmc.commands() == ["power 0", "power 1"]


def test_dlm_controld_needs_no_file_where_power_alone_fences(bmc: Bmc) -> None:
    outcome = halvm(stdin=dlm(bmc, "node=4294967295", "action=off", "fail_time=1764272535"))
    assert (outcome.status, outcome.stdout) == (0, "Success: Powered OFF\n")


@pytest.mark.parametrize("action", ["on", "status", "monitor", "list", "validate-all", "metadata"])
def test_dlm_controld_gets_no_success_for_what_is_no_fence(bmc: Bmc, action: str) -> None:
    """An action= in dlm.conf, meant for the unfencing alone, say: exit status 0 would be taken for a fence."""
    outcome = halvm(stdin=dlm(bmc, "node=1", f"action={action}", "fail_time=1764272535"))
    assert (outcome.status, outcome.stdout, len(outcome.lines)) == (1, "", 1)
    assert "dlm_controld asks for a fence (fail_time)" in outcome.stderr
    assert bmc.commands() == []


def test_as_pacemaker_writes_it(bmc: Bmc) -> None:
    """nodename and plug and port, unordered, with its own meta attributes."""
    lines = ["crm_feature_set=3.17.4", "plug=serv-0001", "port=serv-0001", "nodename=serv-0001", "nodeid=1"]
    lines += [f"ip={bmc.address}", f"ipport={bmc.port}", "username=ADMIN", "password=ADMIN", "action=reboot"]
    lines += ["pcmk_host_list=serv-0001"]
    outcome = halvm(stdin="\n".join(lines) + "\n", environ={"PCMK_service": "pacemaker-fenced"})
    assert (outcome.status, outcome.stdout) == (0, "Success: Rebooted\n")
    assert outcome.stderr == "", "it logs all of that as a warning"


@pytest.mark.parametrize(
    "action", ["on", "off", "status", "monitor", "list", "list-status", "validate-all", "metadata"]
)
def test_a_success_says_nothing_on_stderr_to_a_cluster_manager(bmc: Bmc, action: str) -> None:
    lines = ["plug=serv-0001", "nodename=serv-0001", f"ip={bmc.address}", f"ipport={bmc.port}", "username=ADMIN"]
    outcome = halvm(stdin="\n".join([*lines, "password=ADMIN", f"action={action}"]) + "\n")
    assert (outcome.status, outcome.stderr) == (0, "")


def test_verbose_on_stdin_tells_the_steps(bmc: Bmc) -> None:
    lines = [f"ip={bmc.address}", f"ipport={bmc.port}", "username=ADMIN", "password=ADMIN", "action=off", "verbose=2"]
    outcome = halvm(stdin="\n".join(lines) + "\n")
    assert "session open" in outcome.stderr
    assert "proved by power" in outcome.stderr
    assert "verbose" not in outcome.stderr


def test_pacemaker_gets_an_answer_before_it_kills(bmc: Bmc) -> None:
    """disable_timeout leaves steps to the caller, whose default is 60 s."""
    plan = halvm(*at(bmc), "-o", "off", "--dry-run", environ={"PCMK_service": "pacemaker-fenced"})
    assert "give up after 50 s" in plan.stdout
    assert "give up after 30 s" in halvm(*at(bmc), "-o", "off", "--dry-run").stdout
    own = halvm(*at(bmc), "-o", "off", "--dry-run", "--deadline=12", environ={"PCMK_service": "pacemaker-fenced"})
    assert "give up after 12 s" in own.stdout


def test_under_pacemaker_a_lag_longer_than_power_timeout_is_waited_for() -> None:
    with Bmc("127.0.7.210") as own:
        own.lag(off_s=1)
        argv = (*at(own), "-o", "off", "--power-timeout=0.5", "--deadline=30")
        assert halvm(*argv, environ={"PCMK_service": "pacemaker-fenced"}).status == 0


def test_argv_wins_over_stdin(bmc: Bmc) -> None:
    outcome = halvm(*at(bmc), "-o", "status", stdin="action=off\n")
    assert outcome.stdout == "Status: ON\n"
    assert bmc.power == "on"


def test_stdin_without_a_final_newline_and_with_dos_ends(bmc: Bmc) -> None:
    text = f"ipaddr={bmc.address}\r\nipport={bmc.port}\r\nlogin=ADMIN\r\npasswd=ADMIN\r\naction=status"
    assert halvm(stdin=text).stdout == "Status: ON\n"


def test_pacemaker_reads_a_timeout_from_a_silent_bmc(bmc: Bmc, proxy: UdpProxy) -> None:
    proxy.blackhole = True
    outcome = halvm(*at(bmc, proxy.port), "-o", "status", "--deadline=1")
    assert "timed out" in outcome.stderr.lower()


def test_no_word_of_timeout_where_none_was(bmc: Bmc) -> None:
    """Pacemaker would call a wrong password a timeout."""
    outcome = halvm(*at(bmc, password="wrong"), "-o", "status")
    assert "timed out" not in outcome.stderr.lower()
    assert "timeout" not in outcome.stderr.lower()


def test_a_fault_of_ours_is_a_sentence_and_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_agent: Agent, _given: object) -> int:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(Agent, "_act", broken)
    assert Agent(["-o", "off"], io.BytesIO(), sys.stdout, sys.stderr, {}).run() == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "unexpected RuntimeError: on purpose: the outcome is unknown" in told.err
    assert "Traceback" not in told.err
