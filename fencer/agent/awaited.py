# SPDX-License-Identifier: Apache-2.0
"""The words for what a run waits for. Pure."""

from fencer.agent.facts import Facts
from fencer.agent.plan import Plan


def awaited(plan: Plan, facts: Facts) -> str:
    """The words for what a run waits for. Pure."""
    bmc, racing = f"BMC {plan.request.bmc}", plan.gated and facts.arbitration is None
    parts: list[str] = []
    if plan.power is not None and not facts.power_over and not facts.session:
        parts.append(f"{bmc} to open a session")
    elif plan.power is not None and not facts.power_over and not racing:
        parts.append(f"{bmc} to show the chassis power")
    if plan.storage is not None and not facts.storage_over:
        parts.append("the fence race on the LUNs" if racing else "the LUNs")
    if not parts and plan.awaits_self_fence and not facts.self_fence_due:
        parts.append(f"{plan.request.who} to reset itself")
    return " and ".join(parts) or "the end"
