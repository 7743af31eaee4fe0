# SPDX-License-Identifier: Apache-2.0
"""The feeder's sentences for the log: when it arms, when it stops, and what state it leaves."""

from fencer.sidecar.environment import Ended, ExitStatus
from fencer.sidecar.keepalive import Feeding
from fencer.sidecar.lun_state import Cause
from fencer.sidecar.messages import LINE_CHARS, Level
from fencer.sidecar.policy import Decision
from fencer.sidecar.watchdog_device import SOFTWARE_MEANS, Support
from fencer.state.snapshot import WatchdogSnapshot

_FINAL = (Cause.PREEMPTED, Cause.SHUT_OUT)


def armed(feeding: Feeding) -> list[tuple[Level, str]]:
    """The sentence for an armed watchdog."""
    support = feeding.watchdog.support
    if feeding.watchdog.armed:
        text = (
            f"{support.device} ({support.identity}) is armed: it resets this node {support.timeout_s:g} s after "
            f"its last keepalive; fed every {feeding.interval_s:.2g} s"
        )
        lines = [(Level.NOTICE, text), *((Level.WARNING, complaint) for complaint in support.complaints)]
        if support.software:
            lines.append((Level.WARNING, f"{support.device}: {SOFTWARE_MEANS}"))
        if support.nowayout:
            text = f"{support.device}: nowayout: it cannot be disarmed, not by a stop either"
            lines.append((Level.WARNING, text))
    else:
        text = 'watchdog = "none": NOTHING RESETS THIS NODE when this program fails. For trying out'
        lines = [(Level.WARNING, text)]
    if support.reset_last_boot:
        lines.append((Level.WARNING, f"{support.device}: this boot began with a reset by the watchdog"))
    return lines


def left_behind(support: Support, disarmed: bool | None, decision: Decision) -> list[str]:
    """After an orderly stop. disarmed: None when unknown."""
    if ticking := still_ticking(support, disarmed):
        return [ticking]
    if decision.grace_remaining_s is None:
        return []
    return [
        f"THIS NODE IS UNGUARDED NOW: stopped while {'; '.join(decision.reasons)[:LINE_CHARS]}: nothing "
        "resets it, although self_fence_bound promises a peer that it does: fence it, or start halvm-watchdogd again"
    ]


def left_running(left: WatchdogSnapshot) -> str:
    """The sentences after a stop before the first look, which would show whether this node was fenced meanwhile."""
    return (
        f"{left.device}, left running by a predecessor, is running still: it resets this node within "
        f"{left.timeout_s:g} s unless halvm-watchdogd is started again"
    )


def not_served(decision: Decision) -> Ended:
    """A self-fence is due and nothing is armed. A preempted node must not be served; storage may come back."""
    if decision.cause in _FINAL:
        text = f"{decision.reasons[0]}; the watchdog is not armed and nothing was registered: reboot this node"
        return Ended(ExitStatus.PREEMPTED, text)
    return Ended(ExitStatus.TRY_AGAIN, f"{decision.reasons[0]}; nothing is armed: begins anew")


def still_ticking(support: Support, disarmed: bool | None) -> str:
    """After an orderly stop; "" when it is disarmed."""
    unless = f"in {support.timeout_s:g} s unless halvm-watchdogd is started again by then"
    match disarmed:
        case True:
            return ""
        case False:
            return f"{support.device} cannot be disarmed (nowayout): it resets this node {unless}"
        case None:
            return (
                f"{support.device}: whether it is disarmed cannot be told (its driver does not say whether nowayout is "
                f"set): it may reset this node {unless}"
            )
