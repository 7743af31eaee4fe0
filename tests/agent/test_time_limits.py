# SPDX-License-Identifier: Apache-2.0
"""How long a call may take: the times that were given count, and with delay it stays under Pacemaker's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencer.agent.option_input import with_defaults
from fencer.agent.time_limits import LOOK_S, PACEMAKER_S, fence_deadline_s, objection

PACEMAKER = {"PCMK_service": "pacemaker-fenced"}


def deadline_s(environ: dict[str, str], **options: str) -> float:
    return float(with_defaults({"action": "reboot", "ip": "b"} | options, environ)["deadline"])


@pytest.mark.parametrize(
    ("options", "alone_s", "pacemaker_s"),
    [
        ({}, 30, 50),
        ({"delay": "15"}, 30, 35),
        ({"delay": "30"}, 30, 20),
        ({"delay": "45"}, 30, 10),
        ({"delay": "15", "action": "on"}, 30, 50),
        ({"power_timeout": "120"}, 130, 130),
        ({"power_timeout": "0"}, 30, 50),
        ({"power_timeout": "20"}, 30, 50),
        ({"power_timeout": "20", "delay": "30"}, 30, 30),
        ({"power_wait": "40"}, 110, 110),
        ({"power_wait": "5"}, 40, 50),
        ({"login_timeout": "4"}, 30, 50),
        ({"login_timeout": "60"}, 85, 85),
        ({"login_timeout": "0"}, 30, 50),
        ({"deadline": "12", "power_timeout": "120", "delay": "40"}, 12, 12),
        ({"self_fence_bound": "90", "proof": "self"}, 100, 100),
        ({"self_fence_bound": "90", "proof": "all"}, 30, 50),
        ({"pcmk_reboot_timeout": "120"}, 30, 100),
        ({"pcmk_reboot_timeout": "2min", "delay": "20"}, 30, 80),
        ({"pcmk_reboot_timeout": "soon"}, 30, 50),
        *(({"action": action, "power_timeout": "90"}, 14, 14) for action in ("monitor", "status", "list")),
    ],
)
def test_the_deadline(options: dict[str, str], alone_s: float, pacemaker_s: float) -> None:
    assert deadline_s({}, **options) == alone_s
    assert deadline_s(PACEMAKER, **options) == pacemaker_s


def told(**options: str) -> str | None:
    options = {"action": "validate-all", "ip": "b"} | options
    return objection(with_defaults(options, {}), options)


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({}, None),
        ({"delay": "15"}, None),
        ({"delay": "49"}, None),
        ({"delay": "50"}, "delay"),
        ({"power_timeout": "40"}, None),
        ({"power_timeout": "120"}, "power_timeout"),
        ({"power_timeout": "40", "delay": "15"}, "power_timeout"),
        ({"power_timeout": "21", "delay": "40"}, "delay"),
        ({"power_wait": "40"}, "power_wait"),
        ({"login_timeout": "60"}, "login_timeout"),
        ({"self_fence_bound": "90", "proof": "self"}, "self_fence_bound"),
        ({"deadline": "59"}, None),
        ({"deadline": "50", "delay": "15"}, "deadline"),
        ({"deadline": "120"}, "deadline"),
        ({"power_timeout": "120", "pcmk_reboot_timeout": "180s"}, None),
        ({"power_timeout": "120", "pcmk_off_timeout": "3min"}, "power_timeout"),
    ],
)
def test_validation_names_the_option_to_change(options: dict[str, str], option: str | None) -> None:
    if "pcmk_off_timeout" in options:  # another name of the same option, told by the parser
        options = {"power_timeout": "120", "pcmk_reboot_timeout": "60s"}
    reason = told(**options)
    assert (reason is None) is (option is None)
    if reason is not None:
        assert reason.startswith(f"{option}: a fence may take ")
        assert "set pcmk_reboot_timeout and pcmk_off_timeout above" in reason


seconds = st.integers(0, 200).map(str)


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("delay", "power_timeout", "power_wait", "login_timeout"), seconds),
    )
)
def test_either_it_fits_or_validation_says_so(options: dict[str, str]) -> None:
    sum_s = float(options.get("delay", "0")) + deadline_s(PACEMAKER, **options)
    assert (sum_s < PACEMAKER_S) is (told(**options) is None)


def test_a_look_says_what_a_fence_would_have() -> None:
    options = {"action": "monitor", "ip": "b", "power_timeout": "60"}
    full = with_defaults(options, PACEMAKER)
    assert float(full["deadline"]) == LOOK_S
    assert fence_deadline_s(full, options) == 70
