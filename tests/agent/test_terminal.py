"""A person at a terminal: what is waited for, and colour; never for a cluster manager, and never in a pipe."""

import contextlib
import os
import subprocess

import pytest

from fencer.agent.facts import Facts
from fencer.agent.terminal import awaited
from fencer.model import Action, ProofPolicy
from fencer.observations import PowerDone, SessionOpened, StorageDone
from tests.agent.halvm import AGENT, ENVIRONMENT, at
from tests.decisions.test_verdict import WON, plan
from tests.rig.bmc import Bmc
from tests.rig.udp_proxy import UdpProxy

CLEAR = "\r\x1b[K"


def seen(bmc: Bmc, port: int, *argv: str, stdin: str | None = None, **environ: str) -> str:
    """All that a call with a silent BMC writes to a terminal."""
    leader, terminal = os.openpty()
    try:
        process = subprocess.Popen(
            [AGENT, *(argv and (*at(bmc, port), *argv))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=terminal,
            env=ENVIRONMENT | {"TERM": "xterm"} | environ,
        )
        assert process.stdin is not None
        process.stdin.write((stdin or "").encode())
        process.stdin.close()
        os.close(terminal)
        terminal = -1
        said = b""
        with contextlib.suppress(OSError):  # EIO: the other side has been closed
            while chunk := os.read(leader, 4096):
                said += chunk
        process.wait(timeout=60)
        return said.decode()
    finally:
        os.close(leader)
        if terminal >= 0:
            os.close(terminal)


def test_a_person_sees_what_is_waited_for_and_how_long(bmc: Bmc, proxy: UdpProxy) -> None:
    proxy.blackhole = True
    said = seen(bmc, proxy.port, "-o", "off", "--deadline=4")
    assert f"{CLEAR}waiting for BMC {bmc.address} to open a session: " in said
    assert " s left" in said
    assert f"{CLEAR}fence_halvm: \x1b[1;31mERROR\x1b[0m: {bmc.address}: " in said, "its line is taken back"


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_who_wants_no_colour_gets_none(bmc: Bmc, proxy: UdpProxy, environ: dict[str, str]) -> None:
    proxy.blackhole = True
    said = seen(bmc, proxy.port, "-o", "off", "--deadline=3", **environ)
    assert "ERROR: " in said
    assert "\x1b[1" not in said
    assert ("waiting for" in said) is ("TERM" not in environ)


def test_a_cluster_manager_with_a_terminal_gets_lines_alone(bmc: Bmc, proxy: UdpProxy) -> None:
    proxy.blackhole = True
    lines = [
        f"ip={bmc.address}",
        f"ipport={proxy.port}",
        "username=ADMIN",
        "password=ADMIN",
        "action=off",
        "deadline=3",
    ]
    said = seen(bmc, proxy.port, stdin="\n".join([*lines, "journal=none", ""]))
    assert "ERROR: " in said
    assert "\x1b" not in said


def test_what_is_awaited() -> None:
    fence = plan(Action.OFF, ProofPolicy.SELF)
    assert awaited(fence, Facts()) == "BMC bmc to open a session and the fence race on the LUNs"
    assert awaited(fence, Facts.of([SessionOpened()])) == "the fence race on the LUNs"
    assert awaited(fence, Facts.of([SessionOpened(), WON])) == "BMC bmc to show the chassis power and the LUNs"
    assert awaited(fence, Facts.of([WON, StorageDone(1), PowerDone()])) == "victim to reset itself"
    assert awaited(plan(storage=False), Facts.of([PowerDone()])) == "the end"
