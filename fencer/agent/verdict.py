# SPDX-License-Identifier: Apache-2.0
"""Decides the verdict from the observations: when a node is fenced. Pure. Only this module may return success.

What proves success, action by action:

==============  ======================================================================================================
off, reboot     ``power``: the BMC reported chassis power off after power was allowed, and more than once
                (fencer.power.procedure). ``storage``: every LUN was read back with the target's key absent and a
                reservation held by a registered survivor. The policy says which proofs are enough. A lost or undecided
                arbitration is a failure, whatever else was seen. ``self``: the target's self-fence bound has passed
                since ``storage`` was proved; it counts only together with ``storage``.
on              other node: the BMC reported chassis power on; this node: its key was read back on every LUN.
status          what the BMC reported; without a BMC, the keys on every LUN.
monitor         a session with the BMC and its state, and every LUN fit for a fence. A silent BMC is no failure where
                the policy accepts ``storage``. For a person, this node's key must be on every LUN as well: without it
                every fence is lost. A cluster manager calls monitor before it unfences, so it gets a warning.
diag            the BMC accepted the interrupt; that proves nothing about the node, so a cluster manager gets
                success only with the storage proof beside it.
==============  ======================================================================================================
"""

from collections.abc import Iterable

from fencer._typing import NamedTuple
from fencer.agent.facts import Facts
from fencer.agent.plan import Plan
from fencer.agent.request import Caller, Timing
from fencer.model import Action, ArbitrationMode, ChassisCommand, PowerState, Privilege, Proof, ProofPolicy, Side
from fencer.observations import Arbitrated, ArbitrationResult
from fencer.storage.goal import StorageGoal

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_STATUS_OFF = 2


class Verdict(NamedTuple):
    """The result of one call.

    text: the line for stdout that callers parse ("" for none). proofs: what was proved. reasons: why it failed or, with
    success, what did not work. weak: the storage proof rests on a plain PREEMPT or on a command without an answer.
    failed: the sides that failed, also with success.
    """

    exit_status: int
    text: str = ""
    proofs: tuple[Proof, ...] = ()
    reasons: tuple[str, ...] = ()
    weak: bool = False
    failed: tuple[Side, ...] = ()

    @property
    def success(self) -> bool:
        """True unless the call failed. Exit status 2 is the answer "off" of status, not a failure."""
        return self.exit_status != EXIT_FAILURE


def proofs_of(plan: Plan, facts: Facts) -> tuple[Proof, ...]:
    """What has been proved so far about the target. For ``diag``, chassis off proves nothing: a reset may cause it."""
    proofs: list[Proof] = []
    if plan.power is not None and plan.request.action is not Action.DIAG and PowerState.OFF in facts.states:
        proofs.append(Proof.POWER)
    if plan.storage is StorageGoal.FENCE and facts.every_lun_in(facts.isolated):
        proofs.append(Proof.STORAGE)
        if plan.awaits_self_fence and facts.self_fence_due:
            proofs.append(Proof.SELF)
    return tuple(proofs)


def suffices(policy: ProofPolicy, proofs: Iterable[Proof]) -> bool:
    """Whether these proofs are enough for this policy."""
    have = set(proofs)
    match policy:
        case ProofPolicy.POWER:
            return Proof.POWER in have
        case ProofPolicy.STORAGE:
            return Proof.STORAGE in have
        case ProofPolicy.ANY:
            return bool(have & {Proof.POWER, Proof.STORAGE})
        case ProofPolicy.SELF:
            return Proof.STORAGE in have and bool(have & {Proof.POWER, Proof.SELF})
        case ProofPolicy.ALL:
            return have >= {Proof.POWER, Proof.STORAGE}


def decided(plan: Plan, facts: Facts) -> bool:
    """True when no further observation can change the verdict."""
    if is_lost(plan, facts):
        return True
    if not plan.needs_proof:
        return False
    proofs = set(proofs_of(plan, facts))
    if plan.request.action is Action.DIAG:  # success needs the interrupt as well, so storage alone decides only failure
        return plan.storage is StorageGoal.FENCE and facts.storage_over and Proof.STORAGE not in proofs
    if suffices(plan.request.policy, proofs):
        return True
    if plan.power is not None and not facts.power_over:
        proofs.add(Proof.POWER)
    if plan.storage is StorageGoal.FENCE and not facts.storage_over:
        proofs.add(Proof.STORAGE)
    if plan.awaits_self_fence:  # time passes by itself; it counts only together with storage
        proofs.add(Proof.SELF)
    return not suffices(plan.request.policy, proofs)


def is_lost(plan: Plan, facts: Facts) -> bool:
    """Whether the fence race was lost. Then nothing more may be done to the target."""
    return plan.request.storage is not None and facts.lost(plan.request.storage.arbitration)


def is_beaten(plan: Plan, facts: Facts) -> bool:
    """Whether this node was fenced itself, or cannot show that it was not.

    Then it must not shoot the winner by another fence method. A race that could not be decided is lost as well. But
    where this node was seen registered at its end, another method may be tried. A race for which time ran out shows
    nothing.
    """
    end = facts.arbitration
    if end is not None and end.result is not ArbitrationResult.UNREACHABLE:
        return end.result is not ArbitrationResult.WON
    storage = plan.request.storage
    required = plan.gated and storage is not None and storage.arbitration is ArbitrationMode.REQUIRED
    return required and not (end is not None and end.registered)


def judge(plan: Plan, facts: Facts, late: bool = False) -> Verdict:
    """Returns the verdict. late: the deadline passed before everything was over."""
    verdict = _judge(plan, facts, late)
    if not verdict.success and not verdict.reasons:  # an attempt that was ended from outside, for example
        verdict = verdict._replace(reasons=(f"{plan.request.who}: nothing was seen that decides it: {_CALL_AGAIN}",))
    failed = tuple(side for side, bad in _failures(plan, facts, late, verdict) if bad)
    return verdict._replace(failed=failed)


def _failures(plan: Plan, facts: Facts, late: bool, verdict: Verdict) -> tuple[tuple[Side, bool], ...]:
    """Each side, and whether it failed."""
    monitor = plan.request.action is Action.MONITOR
    power = plan.power is not None and (
        _power_failed(facts) or (late and not facts.power_over) or (monitor and _too_weak(plan) is not None)
    )
    storage = plan.storage is not None and (
        bool(facts.lun_failures)
        or facts.storage_failure is not None
        or (late and not facts.storage_over)
        or is_lost(plan, facts)
        or bool(_unregistered(plan, facts))
    )
    if not verdict.success and not power and not storage:  # no side failed, and the proofs are not enough
        return (Side.POWER, plan.power is not None), (Side.STORAGE, plan.storage is not None)
    return (Side.POWER, power), (Side.STORAGE, storage)


def _power_failed(facts: Facts) -> bool:
    """Whether the last attempt at the BMC failed. A failure before a successful attempt does not count."""
    return bool(facts.power_failures) and not facts.power_done


def _judge(plan: Plan, facts: Facts, late: bool) -> Verdict:
    match plan.request.action:
        case Action.OFF | Action.REBOOT:
            return _judge_fence(plan, facts, late)
        case Action.DIAG:
            return _judge_diag(plan, facts, late)
        case Action.ON:
            return _judge_on(plan, facts, late)
        case Action.STATUS:
            return _judge_status(plan, facts, late)
        case Action.MONITOR:
            return _judge_monitor(plan, facts, late)
        case _:
            raise AssertionError(f"{plan.request.action} has no verdict")


def _judge_fence(plan: Plan, facts: Facts, late: bool) -> Verdict:
    if is_lost(plan, facts) and facts.arbitration is not None:
        return Verdict(EXIT_FAILURE, reasons=(_lost_text(facts.arbitration, facts),))
    proofs = proofs_of(plan, facts)
    reasons = _reasons(plan, facts, late)
    if plan.gated and facts.arbitration is None:
        return Verdict(EXIT_FAILURE, reasons=reasons or (f"the fence race was not decided: {_CALL_AGAIN}",))
    if not suffices(plan.request.policy, proofs):
        unproved = f"no proof that {plan.request.who} is fenced: {_CALL_AGAIN}"
        return Verdict(EXIT_FAILURE, proofs=proofs, reasons=reasons or (unproved,))
    if plan.request.action is Action.REBOOT:
        text = "Success: Rebooted"
        if PowerState.OFF in facts.states[-1:] and not reasons:
            reasons = (f"{plan.request.bmc}: the node is off and was not seen on again: switch it on (-o on)",)
    elif facts.found_off or (Proof.POWER not in proofs and all(lun.already for lun in facts.isolated.values())):
        text = "Success: Already OFF"
    else:
        text = "Success: Powered OFF"
    weak = Proof.STORAGE in proofs and not all(lun.aborted for lun in facts.isolated.values())
    return Verdict(EXIT_OK, text, proofs, reasons, weak)


def _judge_diag(plan: Plan, facts: Facts, late: bool) -> Verdict:
    if is_lost(plan, facts) and facts.arbitration is not None:
        return Verdict(EXIT_FAILURE, reasons=(_lost_text(facts.arbitration, facts),))
    proofs = proofs_of(plan, facts)
    reasons = _reasons(plan, facts, late)
    if (plan.gated and facts.arbitration is None) or ChassisCommand.DIAG not in facts.commanded:
        return Verdict(EXIT_FAILURE, proofs=proofs, reasons=reasons)
    if plan.request.caller is Caller.CLUSTER and not proofs:
        reason = "a diagnostic interrupt proves nothing: give vg= or devices=, so that storage can be proved beside it"
        return Verdict(EXIT_FAILURE, reasons=(*reasons, reason))
    return Verdict(EXIT_OK, "Success: Diagnostic interrupt sent", proofs, reasons)


def _judge_on(plan: Plan, facts: Facts, late: bool) -> Verdict:
    reasons = _reasons(plan, facts, late)
    if plan.storage is StorageGoal.REGISTER:
        good = facts.every_lun_in(facts.registered)
    else:
        good = facts.states[-1:] == [PowerState.ON]
    if not good:
        return Verdict(EXIT_FAILURE, reasons=reasons)
    already = plan.storage is None and not facts.commanded
    return Verdict(EXIT_OK, "Success: Already ON" if already else "Success: Powered ON", reasons=reasons)


def _judge_status(plan: Plan, facts: Facts, late: bool) -> Verdict:
    if plan.power is not None:
        match facts.states[-1:]:
            case [PowerState.ON]:
                return Verdict(EXIT_OK, "Status: ON")
            case [PowerState.OFF]:
                return Verdict(EXIT_STATUS_OFF, "Status: OFF")
    elif any(state.registered for state in facts.lun_states.values()):
        return Verdict(EXIT_OK, "Status: ON")
    elif facts.every_lun_in(facts.lun_states):
        bare = [state.lun for state in facts.lun_states.values() if not state.protected]
        if not bare:
            return Verdict(EXIT_STATUS_OFF, "Status: OFF")
        reason = (
            f"{', '.join(bare)}: the key is absent, but no reservation is held, so the node is not shut out: "
            "run on (unfence) on a node that uses it"
        )
        return Verdict(EXIT_FAILURE, reasons=(reason,))
    return Verdict(EXIT_FAILURE, reasons=_reasons(plan, facts, late))


def _judge_monitor(plan: Plan, facts: Facts, late: bool) -> Verdict:
    reasons = _reasons(plan, facts, late)
    if (weak := _too_weak(plan)) is not None:
        return Verdict(EXIT_FAILURE, reasons=(*reasons, weak))
    storage = plan.storage is None or facts.every_lun_in(facts.lun_states)
    # A silent BMC does not prevent a fence that storage proves. A BMC that refuses shows a wrong configuration.
    refused = any(failure.final for failure in facts.power_failures)
    by_storage = plan.storage is not None and storage and not refused and not plan.needs_power
    power = plan.power is None or bool(facts.states) or by_storage
    if unregistered := _unregistered(plan, facts):
        return Verdict(EXIT_FAILURE, reasons=(*reasons, unregistered))
    return Verdict(EXIT_OK if power and storage else EXIT_FAILURE, reasons=reasons)


def _too_weak(plan: Plan) -> str | None:
    """Why the privilege is too low for a fence although the BMC opens a session; None where it is enough."""
    bmc = plan.request.bmc
    if bmc is None or bmc.privilege not in (Privilege.CALLBACK, Privilege.USER):
        return None
    return (
        f"privlvl: {bmc.privilege.name.lower()} cannot switch power, so a fence fails: give operator or administrator"
    )


def _unregistered(plan: Plan, facts: Facts) -> str:
    """Why a fence by this node would fail now: it is not registered. "" where it would not, and to cluster managers."""
    request = plan.request
    if request.action is not Action.MONITOR or request.caller is Caller.CLUSTER or request.storage is None:
        return ""
    if request.storage.arbitration is ArbitrationMode.OFF and not plan.needs_storage:
        return ""
    missing = ", ".join(state.lun for state in facts.lun_states.values() if not state.registered)
    return (
        missing and f"{missing}: a fence fails while this node is not registered: run fence_halvm -o on on it (unfence)"
    )


_CALL_AGAIN = (
    "call again; a node that is known to be down can be confirmed by hand (fence_ack_manual, pcs stonith confirm)"
)


def _lost_text(arbitration: Arbitrated, facts: Facts) -> str:
    """The reason of a lost race. A power command may have been sent while it was won."""
    touched = {ChassisCommand.OFF, ChassisCommand.CYCLE} & {*facts.commanded, *facts.unanswered}
    done = "a power command had been sent before" if touched else "nothing was powered off"
    match arbitration.result:
        case ArbitrationResult.UNREACHABLE:
            how = "the fence race cannot be decided"
            remedy = "mend this node's paths to the LUN, then call again"
        case ArbitrationResult.REFUSED:
            return f"Failed: the fence is refused, {done}: {arbitration.reason}"
        case _:
            how = "the fence race is lost"
            remedy = "leave this node to the one that won, or unfence it (on) if it never was"
    return f"Failed: {how}, {done}: {arbitration.reason}: {remedy}"


_REFUSED = "correct what it refuses, in the options or at the BMC"
_UNANSWERED = "look at this BMC, its network and its host, then call again"
_LONGER = "give a longer deadline, and let the cluster manager wait as long"
_LOOK = "run monitor, which names the LUN"
_NOTABLE = 0.25  # of a deadline


def _reasons(plan: Plan, facts: Facts, late: bool) -> tuple[str, ...]:
    reasons: list[str] = []
    if plan.power is not None and _power_failed(facts):
        failure = facts.power_failures[-1]
        remedy = failure.remedy or (_REFUSED if failure.final else _UNANSWERED)
        reasons.append(f"{failure.reason}: {remedy}")
    elif late and plan.power is not None and not facts.power_over:
        reasons.append(_late_power_text(plan, facts))
    if plan.storage is not None:
        reasons += [failed.reason for failed in facts.lun_failures]
        if facts.storage_failure is not None:
            reasons.append(facts.storage_failure)  # names its remedy
        elif late and not facts.storage_over:
            within = _within(plan.request.timing)
            reasons.append(f"{_where(plan)}: Timed out: not every LUN answered {within}: mend its paths")
        elif plan.storage is StorageGoal.FENCE and not facts.storage_over and Proof.POWER in proofs_of(plan, facts):
            reasons.append(f"{_where(plan)}: power has decided; not every LUN was isolated by then: {_LOOK}")
    proofs = proofs_of(plan, facts)
    if plan.awaits_self_fence and not suffices(plan.request.policy, proofs):
        bound = f"{plan.request.who}: its self-fence bound of {plan.request.self_fence_bound_s:g} s"
        if Proof.STORAGE in proofs:
            within = _within(plan.request.timing) if late else "before the end"
            passed = f"{bound} did not pass {within}, counted from when its key was gone from every LUN"
            reasons.append(f"{passed}: {_LONGER if late else _CALL_AGAIN}")
        elif not reasons:
            reasons.append(f"{bound} proves nothing while its key is not gone from every LUN: {_CALL_AGAIN}")
    return tuple(dict.fromkeys(reasons))


def _late_power_text(plan: Plan, facts: Facts) -> str:
    within = _within(plan.request.timing)
    if not facts.session:
        return (
            f"{plan.request.bmc}: Timed out: the BMC opened no session {within}: "
            f"{facts.not_reached or 'check its address, network and power'}"
        )
    last = facts.states[-1] if facts.states else "unknown"
    return (
        f"{plan.request.bmc}: Timed out: chassis power was last seen {last}, the BMC did not finish {within}: "
        "call again, with a longer deadline if it is slow"
    )


def _within(timing: Timing) -> str:
    """The time that the run had, in words: not the whole deadline after a slow start, or for one of several nodes."""
    deadline_s = timing.deadline_s
    if timing.left_s > deadline_s * (1 - _NOTABLE):
        return f"within {deadline_s:g} s"
    slow = timing.start_s > deadline_s * _NOTABLE
    why = f" (this program took {timing.start_s:.1f} s to start: this machine is overloaded)" if slow else ""
    return f"within {timing.left_s:.1f} s of the deadline's {deadline_s:g} s{why}"


def _where(plan: Plan) -> str:
    return plan.request.storage.settings.where if plan.request.storage is not None else "storage"
