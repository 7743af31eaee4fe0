# SPDX-License-Identifier: Apache-2.0
"""Performs one action: from checked option text to the exit status."""

import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

from fencer._signals import signal
from fencer._typing import TYPE_CHECKING, NamedTuple
from fencer.agent.journal_entry import Record, is_recorded
from fencer.agent.option_input import OptionInput, check, with_defaults
from fencer.agent.plan import Plan, make_plan
from fencer.agent.report import Report, in_words
from fencer.agent.request import Caller, Request
from fencer.agent.request_builder import build_request, overall_s, target_name
from fencer.agent.run import Run, Stamped
from fencer.agent.verdict import EXIT_FAILURE, EXIT_OK, EXIT_STATUS_OFF, is_beaten, judge
from fencer.cluster.membership import Membership, read_membership
from fencer.errors import UsageError
from fencer.model import Action, Deadline, Proof
from fencer.storage.goal import StorageGoal
from fencer.worker import Workers

if TYPE_CHECKING:
    from fencer.agent.known_bmcs import KnownBmcs
    from fencer.journal.writer_process import JournalWriter


class _Interrupt:
    """Turns SIGTERM and SIGINT into a flag, so that the run ends in order and logs out of the BMC.

    The flag stays set: a signal between two fence methods stops both.
    """

    def __init__(self) -> None:
        self.signal = 0

    def listen(self) -> None:
        """Installs the handler. Before that a signal ends the call at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number

    def __call__(self) -> bool:
        return self.signal != 0


_UNSHOWN = (
    "nothing shows that this node is not the one that was fenced: run this on the other side, or, if you know better, "
    "name the BMC alone (-a ADDRESS)"
)


class _Unusable(UsageError):
    """The storage worker refused the LUNs as bad input. final: see _Ending."""

    def __init__(self, sentence: str, *, final: bool) -> None:
        super().__init__(sentence)
        self.final = final


class _Ending(NamedTuple):
    """How the run for one fence device ended. final: no other method of cluster.conf may be tried."""

    exit_status: int
    final: bool = False


class Performer:
    """Performs the action of one call.

    workers: may be forked already and load their libraries. journal_writer: the journal writer process; None: no
    record. age_s: returns how long ago the call began, in seconds; the deadline counts from there.
    """

    def __init__(
        self,
        given: OptionInput,
        workers: Workers,
        report: Report,
        environ: Mapping[str, str],
        journal_writer: "JournalWriter | None" = None,
        age_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._given = given
        self._workers = workers
        self._report = report
        self._environ = environ
        self._journal_writer = journal_writer
        self._age_s = age_s
        self._spent_is_counted = False
        self._start_s = 0.0
        self._interrupt = _Interrupt()
        self._doubts: set[str | None] = set()
        self._caller = Caller.CLUSTER if given.from_stdin else Caller.PERSON

    def perform(self) -> int:
        """Returns the exit status. Raises UsageError for bad input, before anything is sent."""
        if path := self._given.values.get("debug_file"):
            self._report.open_debug_file(path)
        try:
            return self._perform()
        finally:
            self._report.close()

    def _perform(self) -> int:
        values, report = self._given.values, self._report
        membership = read_membership(values.get("cluster_conf"), values.get("local_node"))
        if self._caller is Caller.PERSON and values.get("cluster_conf"):
            membership.require()  # a person who typed the name can correct it
        listing = values.get("action", "").lower() in (Action.LIST, Action.LIST_STATUS)
        methods: tuple[tuple[Mapping[str, str], ...], ...] = ()
        if self._caller is Caller.PERSON and membership.cluster is not None and not listing:
            from fencer.agent import cluster_defaults  # only where there is a cluster.conf

            if cluster_defaults.applies(values):
                found = cluster_defaults.resolve(values, membership, membership.cluster, self._given.stray_words)
                report.notice(found.introduction)  # first of all: which node, and why that one
                methods = found.methods
        for warning in self._given.warnings:
            report.warning(warning)
        if self._caller is Caller.PERSON and values.get("action", "").lower() in (Action.MONITOR, Action.VALIDATE_ALL):
            self._warn_of_cluster(membership)
        if listing:
            return self._list(values, membership)
        return self._try_methods(methods, membership) if methods else self._one(values, membership).exit_status

    def _warn_of_cluster(self, membership: Membership) -> None:
        """Warns of everything in cluster.conf that would make a fence fail or hit the wrong node, for all nodes."""
        if membership.cluster is not None:
            from fencer.cluster.problems import problems

            for problem in problems(membership.cluster):
                self._report.warning(f"{membership.source}: {problem}")

    def _try_methods(self, methods: tuple[tuple[Mapping[str, str], ...], ...], membership: Membership) -> int:
        """Tries the methods in order, as fenced does, until all devices of one method have succeeded.

        Two failures end the call, which fenced cannot tell from others: this node was fenced, or cannot show that it
        was not, so it must not shoot the winner by another method; a person sent a signal, which stops all methods.
        """
        ending = _Ending(EXIT_FAILURE)
        for number, devices in enumerate(methods, 1):
            is_on = False
            for values in devices:
                try:
                    ending = self._one(values, membership)
                except UsageError as error:
                    if number == len(methods):
                        raise
                    self._report.error(str(error))
                    final = isinstance(error, _Unusable) and error.final
                    ending = _Ending(EXIT_FAILURE, final=final or self._interrupt())
                if ending.exit_status == EXIT_FAILURE:
                    break
                is_on = is_on or ending.exit_status == EXIT_OK
            if is_on and ending.exit_status == EXIT_STATUS_OFF:  # one of two power supplies is off
                ending = _Ending(EXIT_OK)
            if ending.final and number < len(methods):
                why = "" if self._interrupt() else f": {_UNSHOWN}"
                self._report.notice(f"no further fence method is tried{why}")
            if ending.final or ending.exit_status != EXIT_FAILURE:
                break
        return ending.exit_status

    def _one(self, values: Mapping[str, str], membership: Membership) -> _Ending:
        check(values)
        full = with_defaults(values, self._environ)
        action = Action(full["action"])
        request = build_request(full, values, self._caller, membership, self._report.waiting_for)
        for doubt in request.doubts:
            self._report.warning(doubt)
        request, known = _with_known_bmc(request, full, membership)
        self._warn(known.doubt if known is not None else None)
        if membership.problem:
            self._report.warning(f"{membership.problem} ({action} goes on without it)")
        if action is Action.VALIDATE_ALL:
            self._check_times(full, values)
            return _Ending(EXIT_OK)
        plan = make_plan(request)
        if request.dry_run:
            unfence = plan.storage is StorageGoal.REGISTER
            what = in_words(request.action, request.who, unfence=unfence)
            self._report.result(f"Plan to {what} (nothing is sent):")
            for number, step in enumerate(plan.steps(), 1):
                self._report.result(f"  {number}. {step}")
            return _Ending(EXIT_OK)
        local = membership.local
        actor = local.name if local is not None else membership.host_names[0]
        recorded = full["journal"] != "none" and is_recorded(action)
        record = Record(plan, actor, full["journal"], self._journal_writer if recorded else None)
        return self._run(plan, record, known)

    def _check_times(self, full: Mapping[str, str], values: Mapping[str, str]) -> None:
        """Raises UsageError where Pacemaker would end a fence too early.

        Pacemaker validates on stdin and does not pass its own limits on. So a deadline that the operator gave counts as
        the statement that those limits were raised; then it is a warning.
        """
        from fencer.agent.time_limits import objection

        reason = objection(full, values) if self._caller is Caller.CLUSTER else None
        if reason is not None and "deadline" not in values:
            raise UsageError(reason)
        if reason is not None:
            self._report.warning(reason)

    def _run(self, plan: Plan, record: Record, known: "KnownBmcs | None") -> _Ending:
        request, report, interrupt = plan.request, self._report, self._interrupt
        interrupt.listen()
        age_s = self._age_s()
        spent_s, self._spent_is_counted = 0.0 if self._spent_is_counted else age_s, True  # against the first method
        if request.action in (Action.OFF, Action.REBOOT) and request.timing.delay_s:
            report.detail(f"waiting {request.timing.delay_s:g} s (delay)")
            _sleep_until(time.monotonic() + request.timing.delay_s, interrupt, report)
        record.begin()
        began = time.monotonic()
        deadline = Deadline.after(time_left_s(request.timing.deadline_s, spent_s))
        plan = _begun(plan, deadline, spent_s)

        def observe(several: Sequence[Stamped]) -> None:
            for stamped in several:
                report.observed(stamped, plan)
            record.observe(several)

        def told_to_stop() -> bool:
            """Whether to stop. The run calls it at least every half second."""
            report.waiting(plan, run.facts, deadline.remaining_s)
            return interrupt()

        run = Run(plan, deadline, self._workers, observe, told_to_stop, age_s)
        facts = run.facts if interrupt() else run.execute()
        report.end_waiting()
        if interrupt():
            name = "SIGTERM" if interrupt.signal == signal.SIGTERM else "SIGINT"
            reason = f"{request.action} {request.who}: interrupted by {name}: the outcome is unknown: call again"
            report.interrupted(reason, facts, plan, time.monotonic() - began)
            self._warn(record.interrupted(name))
            return _Ending(EXIT_FAILURE, final=True)
        verdict = judge(plan, facts, run.late)
        if not verdict.success and run.misuse is not None and not (facts.session or facts.power_failures):
            record.end(verdict)
            raise _Unusable(run.misuse, final=is_beaten(plan, facts))
        report.verdict(verdict, facts, plan, time.monotonic() - began)
        self._warn(record.end(verdict))
        if known is not None and verdict.success and facts.bmc_guid is not None:
            if request.action in (Action.MONITOR, Action.ON):
                self._warn(known.learn(facts.bmc_guid))
            elif Proof.POWER in verdict.proofs and not facts.found_off:
                known.learn_unwaited(facts.bmc_guid)
        return _Ending(verdict.exit_status, final=is_beaten(plan, facts))

    def _warn(self, text: str | None) -> None:
        if text is not None:
            self._report.warning(text)

    def _list(self, values: Mapping[str, str], membership: Membership) -> int:
        """Prints the nodes that this device can fence, one a line. Pacemaker takes every word of ``list`` for a name.

        Each of several nodes gets an equal share of the deadline. A node whose state cannot be read is UNKNOWN, and the
        others are listed all the same.
        """
        full = with_defaults(values, self._environ)
        name = target_name(full, membership)
        names: tuple[str, ...] = (name,) if name else ()
        if name is None and membership.cluster is not None and not any(full.get(o) for o in ("ip", "devices", "vg")):
            names = tuple(node.name for node in membership.cluster.nodes)
        if not names and not any(full.get(o) for o in ("ip", "devices", "vg")):
            membership.require()
        if full["action"] == Action.LIST:
            for each in names:
                self._report.node(each)
            return EXIT_OK
        self._start_s = self._age_s()
        deadline = Deadline.after(time_left_s(overall_s(full, self._caller), self._start_s))
        for number, each in enumerate(names):
            share = deadline.within(deadline.remaining_s / (len(names) - number))
            try:
                state = self._state({**values, "nodename": each}, membership, share)
            except UsageError as error:
                if name is not None:
                    raise
                self._report.warning(f"{each}: {error}")
                state = "UNKNOWN"
            self._report.node(each, state)
        return EXIT_OK

    def _state(self, values: Mapping[str, str], membership: Membership, share: Deadline) -> str:
        """ON, OFF or UNKNOWN. UNKNOWN also when share has passed. A node of several devices is OFF by all of them."""
        values = {**values, "action": Action.STATUS.value}
        devices: tuple[Mapping[str, str], ...] = (values,)
        if self._caller is Caller.PERSON and membership.cluster is not None:
            from fencer.agent import cluster_defaults  # only where there is a cluster.conf

            if cluster_defaults.applies(values):
                devices = cluster_defaults.resolve(values, membership, membership.cluster).methods[0]
        states: set[str] = set()
        for number, device in enumerate(devices):
            within = share.within(share.remaining_s / (len(devices) - number))
            states.add(self._state_by(device, membership, within))
        return next(state for state in ("ON", "UNKNOWN", "OFF") if state in states)

    def _state_by(self, values: Mapping[str, str], membership: Membership, share: Deadline) -> str:
        """The same, by one device."""
        check(values)
        full = with_defaults(values, self._environ)
        request = build_request(full, values, self._caller, membership, self._report.waiting_for)
        request, known = _with_known_bmc(request, full, membership)
        if known is not None and known.doubt not in self._doubts:  # of one directory, for all nodes
            self._doubts.add(known.doubt)
            self._warn(known.doubt)
        deadline = share.within(request.timing.deadline_s)
        plan = _begun(make_plan(request), deadline, self._start_s)

        def show() -> bool:
            self._report.waiting(plan, run.facts, deadline.remaining_s)
            return False

        run = Run(plan, deadline, self._workers, lambda _: None, show)
        verdict = judge(plan, run.execute(), run.late)
        state = {EXIT_OK: "ON", EXIT_STATUS_OFF: "OFF"}.get(verdict.exit_status)
        if state is None:
            for reason in verdict.reasons:
                self._warn(f"{request.who}: {reason}")
        return state or "UNKNOWN"


def _with_known_bmc(
    request: Request, full: Mapping[str, str], membership: Membership
) -> "tuple[Request, KnownBmcs | None]":
    """The request with what this host has learnt of the node's BMC. Raises UsageError for a bmc_guid that is none."""
    if request.bmc is None:
        return request, None
    from fencer.agent.known_bmcs import KnownBmcs  # storage alone needs none of it

    known = KnownBmcs(request, full, membership)
    return request._replace(bmc=known.settled()), known


def _begun(plan: Plan, deadline: Deadline, start_s: float) -> Plan:
    """The plan of a run that begins now, so that a failure can tell how long the run could wait, and why not longer."""
    timing = plan.request.timing._replace(left_s=deadline.remaining_s, start_s=start_s)
    return plan._replace(request=plan.request._replace(timing=timing))


def time_left_s(deadline_s: float, spent_s: float) -> float:
    """How much of deadline_s is left after spent_s: at least half, because a slow start must not prevent a fence."""
    return deadline_s - min(spent_s, deadline_s / 2)


def _sleep_until(at: float, interrupt: _Interrupt, report: Report) -> None:
    while (left := at - time.monotonic()) > 0 and not interrupt():
        report.waiting_for("the delay to pass", left)
        time.sleep(min(left, 0.5))
