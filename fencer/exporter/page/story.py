# SPDX-License-Identifier: Apache-2.0
"""The sections of the journal: whether the next fence would work, and who fenced whom with what proof."""

from typing import Final

from fencer.exporter.metrics.journal import bmc_reachable
from fencer.exporter.page import words
from fencer.exporter.page.journal_findings import proved
from fencer.exporter.page.markup import Markup, element, joined, mark
from fencer.journal.event import Event, EventKind, FenceOutcome
from fencer.state.readings import Readings


def monitors(readings: Readings) -> Markup:
    """The latest monitor of each target."""
    now = readings.now.unix_s
    rows = []
    for event in readings.journal.monitors:
        good = event.outcome is FenceOutcome.SUCCESS
        reached = bmc_reachable(event)
        bmc = "" if reached is None else f", its BMC {'let us in' if reached else 'did not let us in'}"
        text = f" {words.ago(event.at_unix_s + event.took_s, now)}, took {words.duration(event.took_s)}{bmc}"
        why = f": {event.error}" if event.error else ""
        answer = mark("yes", "good") if good else mark("no", "bad")
        rows += [element("dt", event.target or "unnamed"), element("dd", answer, text, why)]
    return element("dl", *rows)


def story(readings: Readings) -> Markup:
    """The latest events, newest first, and how to see the earlier ones."""
    journal, now = readings.journal, readings.now.unix_s
    if journal.failed:
        return element("p", mark("unknown", "bad"), " the journal cannot be read.")
    if not journal.story:
        return element("p", "No fence, unfence or self-fence has been recorded on this node.")
    more = journal.told - len(journal.story)
    rest = (
        element("p", f"{more} earlier: ", element("code", "fence_halvm -o history"), class_="soft")
        if more > 0
        else None
    )
    return joined((element("ol", *(_event(event, now) for event in journal.story), class_="line"), rest))


_OUTCOMES: Final = {
    FenceOutcome.SUCCESS: ("succeeded", "good"),
    FenceOutcome.FAILURE: ("failed", "bad"),
    FenceOutcome.UNKNOWN: ("outcome unknown", "bad"),
}


def _event(event: Event, now: float) -> Markup:
    word, css = _OUTCOMES[event.outcome]
    if event.kind is EventKind.FENCE and event.outcome is FenceOutcome.SUCCESS and proved(event) == "storage":
        css = "warn"
    began = event.at_unix_s
    when = element("p", f"{words.moment(began, now)} · {words.ago(began, now)}", class_="soft")
    ended = joined((" ", mark(word, css), f" in {words.duration(event.took_s)}"))
    if event.kind is EventKind.SELF_FENCE:  # the outcome of a self-fence is the reset that follows
        css, ended = "bad", Markup("")
    what = element("p", element("strong", _what(event)), ended)
    proof: Markup | None = None
    if event.kind is EventKind.FENCE:
        weak = " (by a plain PREEMPT: commands it had queued may still have landed)" if event.weak else ""
        proof = (
            element("p", f"Proved by {proved(event)}{weak}.") if event.proofs else element("p", "Nothing was proved.")
        )
    why = element("p", event.error) if event.error else None
    steps: Markup | None = None
    if event.steps:
        lines = [element("li", f"{step.at_s:.2f} s  {step.text}") for step in event.steps]
        steps = element("details", element("summary", words.count(len(lines), "step")), element("ol", *lines))
    return element("li", when, what, proof, why, steps, class_=css)


def _what(event: Event) -> str:
    actor, target = event.actor or "a node", event.target or "an unnamed node"
    match event.kind:
        case EventKind.FENCE:
            did = "fenced" if event.outcome is FenceOutcome.SUCCESS else "tried to fence"
            return f"{actor} {did} {target} ({event.action})"
        case EventKind.POWER_ON:
            return f"{actor} switched {target} on"
        case EventKind.UNFENCE:
            return f"{actor} registered itself (unfence)"
        case EventKind.SELF_FENCE:
            return f"{actor} let itself be reset (self-fence)"
        case EventKind.PAUSE:
            return f"{actor}: {event.action or 'pause'}"
        case _:
            return f"{actor}: {event.kind} {target}"
