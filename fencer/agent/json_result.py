# SPDX-License-Identifier: Apache-2.0
"""Writes what a call found as JSON, for ``--json``: one object a line. Loaded only where that is asked for."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from fencer._typing import Final
from fencer.agent.facts import Facts
from fencer.agent.option_input import OptionInput
from fencer.agent.plan import Plan
from fencer.agent.verdict import EXIT_FAILURE, EXIT_OK, EXIT_STATUS_OFF, Verdict
from fencer.errors import UsageError
from fencer.journal.event import FenceOutcome
from fencer.model import Action

_ACTIONS: Final = ("on", "off", "reboot", "diag", "status", "monitor", "list", "list-status", "history")


def refuse(given: OptionInput) -> None:
    """Raises UsageError where ``--json`` has no meaning: beside such an action, for a plan, for a cluster manager."""
    if given.values.get("help") == "1" or given.values.get("version") == "1":
        return  # they win over every other option
    action = given.values.get("action", "reboot").lower()
    if given.from_stdin and action != "history":
        raise UsageError(
            "json: only for a person or a script on the command line (--json): remove it from the cluster's "
            "configuration"
        )
    if action not in _ACTIONS:
        raise UsageError(f"json: {action} prints no result: leave --json out, or give one of {', '.join(_ACTIONS)}")
    if given.values.get("dry_run") == "1":
        raise UsageError("json: dry_run prints a plan, which is text: leave --json or --dry-run out")


def verdict_line(plan: Plan, facts: Facts, verdict: Verdict, took_s: float) -> str:
    """The object of a call that came to a verdict. Its fields are those of fencer.agent.manual.JSON_FIELDS."""
    outcome = FenceOutcome.SUCCESS if verdict.success else FenceOutcome.FAILURE
    return _line(plan, facts, verdict, outcome, took_s)


def interrupted_line(plan: Plan, facts: Facts, reason: str, took_s: float) -> str:
    """The object of a call that was interrupted."""
    return _line(plan, facts, Verdict(EXIT_FAILURE, reasons=(reason,)), FenceOutcome.UNKNOWN, took_s)


def node_line(name: str, state: str | None = None) -> str:
    """The object of one node: for list only its name, for list-status also ``ON``, ``OFF`` or ``UNKNOWN``."""
    fields: dict[str, str | None] = {"node": name}
    if state is not None:
        fields["state"] = _STATES.get(state)
    return json.dumps(fields)


_STATES: Final[Mapping[str, str]] = {"ON": "on", "OFF": "off"}


def _line(plan: Plan, facts: Facts, verdict: Verdict, outcome: FenceOutcome, took_s: float) -> str:
    request = plan.request
    return json.dumps({
        "at": datetime.fromtimestamp(time.time() - took_s, UTC).isoformat(timespec="milliseconds"),
        "action": request.action.value,
        "node": request.target,
        "bmc": request.bmc.address if request.bmc is not None else None,
        "outcome": outcome.value,
        "exit_status": verdict.exit_status,
        "state": _state(plan, facts, verdict),
        "proofs": [proof.value for proof in verdict.proofs],
        "weak": verdict.weak,
        "result": verdict.text,
        "reasons": list(verdict.reasons),
        "took_s": round(took_s, 3),
    })  # fmt: skip


def _state(plan: Plan, facts: Facts, verdict: Verdict) -> str | None:
    if plan.request.action is Action.STATUS:
        return {EXIT_OK: "on", EXIT_STATUS_OFF: "off"}.get(verdict.exit_status)
    return str(facts.states[-1]) if facts.states else None
