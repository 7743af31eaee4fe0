# SPDX-License-Identifier: Apache-2.0
"""Computes the default deadline of a call from the other time options and the caller. Pure.

Pacemaker kills an agent by SIGKILL, without a chance to log out of the BMC: a fence after 60 s or pcmk_reboot_timeout,
a monitor after 20 s. cman's fenced and dlm_controld wait for ever. Option text is checked; all times are in seconds.
"""

from collections.abc import Mapping

from fencer._typing import Final

LOOK_S: Final = 14.0
"""Deadline of monitor, status and list: with start, logout and journal they end within 15 s."""

LOOKS: Final = frozenset({"monitor", "status", "list", "list-status"})

PACEMAKER_S: Final = 60.0
"""Pacemaker's timeout of a fence, unless pcmk_reboot_timeout and pcmk_off_timeout are set."""

_SHARE: Final = 5 / 6  # of Pacemaker's time; the rest is for the start of the agent and its way back
_LEAST_S: Final = 10.0  # a fence takes about 5 s at a slow BMC: less is no fence
_ORDINARY_S: Final = 30.0
_REST_S: Final = 5.0  # arbitration, answers to commands
_UNITS_S: Final = (
    ("ms", 0.001), ("msec", 0.001), ("us", 1e-6), ("usec", 1e-6), ("s", 1.0), ("sec", 1.0), ("m", 60.0), ("min", 60.0),
    ("h", 3600.0), ("hr", 3600.0), ("", 1.0),
)  # fmt: skip


def deadline_s(full: Mapping[str, str], given: Mapping[str, str], *, pacemaker: bool) -> float:
    """The default deadline, counted from the end of delay.

    full: options with all defaults except this one. given: what the caller wrote; only given times may exceed
    Pacemaker's timeout.
    """
    if full["action"] in LOOKS:
        return LOOK_S
    needed_s = _needed_s(full)
    if not pacemaker:
        return max(_ORDINARY_S, needed_s)
    allowed_s = _pacemakers_s(given) * _SHARE - _delay_s(full)
    stretching = any(name in given for name in ("power_timeout", "power_wait", "login_timeout", "self_fence_bound"))
    return max(allowed_s, _LEAST_S, needed_s if stretching else 0.0)


def fence_deadline_s(full: Mapping[str, str], given: Mapping[str, str]) -> float:
    """The deadline that a reboot would have, for any action. full: options with all defaults."""
    if "deadline" in given or full["action"] not in LOOKS:
        return _seconds(full["deadline"])
    return deadline_s({**full, "action": "reboot"}, given, pacemaker=full["disable_timeout"] == "1")


def objection(full: Mapping[str, str], given: Mapping[str, str]) -> str | None:
    """Why Pacemaker would kill a fence before its deadline, and which option to change; None where it would not."""
    chosen_s = _seconds(full["deadline"]) if "deadline" in given else deadline_s(full, given, pacemaker=True)
    pacemaker_s, sum_s = _pacemakers_s(given), _delay_s(full) + chosen_s
    if sum_s < pacemaker_s:
        return None
    after = f"a fence may take {sum_s:g} s with delay, and Pacemaker ends it after {pacemaker_s:g} s"
    above = f"set pcmk_reboot_timeout and pcmk_off_timeout above {sum_s:g} s"
    if "deadline" in given:
        return f"deadline: {after}: {above}, or give less"
    most = max(_EXCESS, key=lambda name: _EXCESS[name] * _seconds(full.get(name, "0")) - _DEFAULT_S.get(name, 0.0))
    return f"{most}: {after}: give less, or {above} and give deadline={chosen_s:g} to say that you have"


_DEFAULT_S: Final = {"login_timeout": 5.0, "power_timeout": 20.0}
_EXCESS: Final = {"delay": 1, "power_timeout": 1, "power_wait": 2, "login_timeout": 1, "self_fence_bound": 1}
"""Options that lengthen a fence, and how many times each counts."""


def _needed_s(full: Mapping[str, str]) -> float:
    """The longest fence by the limits of its steps: a login, a command that is sent twice, the new state."""
    login_s = _seconds(full["login_timeout"]) or _DEFAULT_S["login_timeout"]  # 0: no limit of its own
    power_s = _seconds(full["power_timeout"]) or _DEFAULT_S["power_timeout"]
    steps_s = login_s + power_s + 2 * _seconds(full["power_wait"]) + _REST_S
    self_fence_s = _seconds(full.get("self_fence_bound", "")) if full["proof"] == "self" else 0.0
    return max(steps_s, self_fence_s + 2 * _REST_S)


def _delay_s(full: Mapping[str, str]) -> float:
    return _seconds(full["delay"]) if full["action"] not in LOOKS | {"on"} else 0.0


def _pacemakers_s(given: Mapping[str, str]) -> float:
    """Pacemaker's timeout of a fence: pcmk_reboot_timeout where it is given and valid, else the default."""
    text = given.get("pcmk_reboot_timeout", "").strip().lower()
    digits = len(text) - len(text.lstrip("0123456789"))
    scale = dict(_UNITS_S).get(text[digits:].strip())
    return int(text[:digits]) * scale if 0 < digits <= 9 and scale is not None else PACEMAKER_S


def _seconds(text: str) -> float:
    """The number, or 0 for text that is no number: help and version do not check the options."""
    try:
        return max(0.0, float(text))
    except ValueError:
        return 0.0
