"""Performs one action, from option text to exit status."""

import resource
import signal
import time
from collections.abc import Mapping
from types import FrameType
from typing import TextIO

from fencer.cli import by_hand
from fencer.cli.asking import build_request
from fencer.cli.jobs import power_job, storage_job
from fencer.cli.membership import Membership, read_membership
from fencer.cli.report import Report
from fencer.errors import UsageError
from fencer.fence import Run
from fencer.model import Action, Deadline
from fencer.option_input import OptionInput, check, with_defaults
from fencer.options import OPTIONS, Effect
from fencer.plan import Plan, make_plan
from fencer.request import Caller, Request
from fencer.verdict import EXIT_FAILURE, EXIT_OK, judge


class _Interrupt:
    """SIGTERM and SIGINT only set a flag: the run ends in order, logs out, and says so."""

    def __init__(self) -> None:
        self.signal = 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number

    def __call__(self) -> bool:
        return self.signal != 0


def perform(given: OptionInput, stdout: TextIO, stderr: TextIO, environ: Mapping[str, str]) -> int:
    """Returns the exit status. Raises UsageError for bad input, before anything is sent."""
    # A core dump of this process would hold the password.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    values = given.values
    report = Report(stdout, stderr, quiet=values.get("quiet") == "1", verbosity=given.verbosity)
    if values.get("debug_file"):
        report.open_debug_file(values["debug_file"])
    for warning in given.warnings:
        report.warning(warning)
    if given.verbosity > 0:
        for option in OPTIONS:
            if option.effect is Effect.NONE and option.name in values:
                report.detail(f"{option.name} is accepted for compatibility and has no effect here")
    caller = Caller.CLUSTER if given.from_stdin else Caller.PERSON
    membership = read_membership(values.get("cluster_conf"), values.get("local_node"))
    if caller is Caller.PERSON and membership.cluster is not None and by_hand.applies(values):
        found = by_hand.resolve(values, membership, membership.cluster)
        report.notice(found.introduction)
        return _try_methods(found.methods, membership, report, environ)
    return _one(values, caller, membership, report, environ)


def _try_methods(
    methods: tuple[tuple[Mapping[str, str], ...], ...],
    membership: Membership,
    report: Report,
    environ: Mapping[str, str],
) -> int:
    """As fenced does: the methods in order, until all devices of one have succeeded."""
    status = EXIT_FAILURE
    for devices in methods:
        for values in devices:
            status = _one(values, Caller.PERSON, membership, report, environ)
            if status == EXIT_FAILURE:
                break
        else:
            return status
    return status


def _one(
    values: Mapping[str, str], caller: Caller, membership: Membership, report: Report, environ: Mapping[str, str]
) -> int:
    check(values)
    full = with_defaults(values, environ)
    action = Action(full["action"])
    if action in (Action.LIST, Action.LIST_STATUS):
        return _list(full, action, membership, report)
    request = build_request(full, values, caller, membership)
    if action is Action.VALIDATE_ALL:
        return EXIT_OK
    plan = make_plan(request)
    if request.dry_run:
        report.result(f"Plan for {request.action} {request.who} (nothing is sent):")
        for number, step in enumerate(plan.steps(), 1):
            report.result(f"  {number}. {step}")
        return EXIT_OK
    return _run(plan, request, report)


def _run(plan: Plan, request: Request, report: Report) -> int:
    interrupt = _Interrupt()
    if request.action in (Action.OFF, Action.REBOOT) and request.timing.delay_s:
        report.detail(f"waiting {request.timing.delay_s:g} s (delay)")
        _sleep_until(time.monotonic() + request.timing.delay_s, interrupt)
    began = time.monotonic()
    deadline = Deadline.after(request.timing.deadline_s)
    run = Run(
        plan,
        deadline,
        power_job(plan) if plan.power is not None else None,
        storage_job(plan, deadline) if plan.storage is not None else None,
        lambda stamped: report.observed(stamped, plan),
        interrupt,
    )
    facts = run.execute() if not interrupt() else run.facts
    if interrupt():
        report.error(f"interrupted by {signal.Signals(interrupt.signal).name}: the outcome is unknown")
        return EXIT_FAILURE
    verdict = judge(plan, facts, run.late)
    report.verdict(verdict, facts, plan, time.monotonic() - began)
    return verdict.exit_status


def _sleep_until(at: float, interrupt: _Interrupt) -> None:
    while (left := at - time.monotonic()) > 0 and not interrupt():
        time.sleep(min(left, 0.5))


def _list(full: Mapping[str, str], action: Action, membership: Membership, report: Report) -> int:
    """The nodes this device can fence, a line each: Pacemaker takes every word of list for a node's name."""
    name = full.get("nodename") or (full.get("plug") if full.get("port_as_ip") != "1" else None)
    if name is None and membership.cluster is not None:
        names = [node.name for node in membership.cluster.nodes]
    else:
        names = [name] if name else []
    if action is Action.LIST:
        for each in names:
            report.result(each)
        return EXIT_OK
    raise UsageError("action: list-status names no single node to ask: use status with plug=NODE")
