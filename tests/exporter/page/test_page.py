# SPDX-License-Identifier: Apache-2.0
"""The status page: what it says, that it says nothing else, and that markup comes from nowhere but the page."""

import html.parser
import inspect
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fencer.exporter.page import findings, journal_findings, lun_findings
from fencer.exporter.page.finding import FindingSeverity
from fencer.exporter.page.findings import find
from fencer.exporter.page.page import CONTENT_SECURITY_POLICY, render
from fencer.journal.event import FenceOutcome
from fencer.model import Proof
from fencer.state.readings import JournalReading, JournalStatus, SnapshotReading, SnapshotStatus
from fencer.state.snapshot import KeySnapshot, PolicyState
from tests import scenes

RUNBOOK = Path(__file__).parents[3] / "docs/runbook.md"
HOSTILE = "<script>alert(1)</script>\"'&</table><img src=x onerror=alert(1)>"


class Reader(html.parser.HTMLParser):
    """Which elements and attributes there are, and what can be read."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == [], "an element is not closed"

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


def text_of(readings) -> str:
    return re.sub(r"\s+", " ", Reader(render(readings, "0.1.0")).text)


def test_healthy_says_so_and_when():
    text = text_of(scenes.healthy())
    assert "All is well, proved at 18:59:59 UTC" in text
    assert "registered on 2 LUNs under a reservation, 4 of 4 paths up, and the watchdog is armed and fed" in text
    assert find(scenes.healthy()) == []


def test_degraded_says_what_is_wrong_and_how_long_is_left():
    text = text_of(scenes.degraded())
    assert "3 things wrong" in text
    assert (
        "/dev/mapper/mpatha is lost: no path is up (no answer within 2 s). "
        "Unless that ends, this node resets itself at 19:00:06 UTC, in 6.0 s." in text
    )
    assert "sdb1 to /dev/mapper/mpathb is down (I/O error): one path is left." in text
    assert "A fence of serv-0001 would not work" in text
    assert "unknown no path gave its registrations" in text


def test_fenced_says_who_whom_and_by_what_proof():
    text = text_of(scenes.fenced())
    assert "serv-0001 was fenced 3 min ago (18:57:04 UTC) on storage alone: it was not seen powered off." in text
    assert "serv-0001 is not registered on any LUN" in text
    assert "serv-0002 fenced serv-0001 (off) succeeded in 4.2 s" in text
    assert "Proved by storage." in text
    assert "serv-0002 tried to fence serv-0001 (off) failed in 30 s" in text
    assert "Nothing was proved." in text


def test_nothing_is_shown_as_well_where_nothing_is_known():
    text = text_of(scenes.nothing())
    assert "Nothing to see yet" in text
    assert "No fence, unfence or self-fence has been recorded" in text
    assert "well" not in text


@pytest.mark.parametrize("status", [status for status in SnapshotStatus if status is not SnapshotStatus.FRESH])
def test_no_state_but_a_fresh_one_is_well(status):
    seen = SnapshotReading(status, scenes.snapshot(), 43.0 if status is SnapshotStatus.STALE else None, "why")
    readings = scenes.readings(seen, scenes.healthy().journal)
    assert find(readings)
    text = text_of(readings)
    assert "All is well" not in text
    assert ("registered" in text and "43 s ago: not current" in text) == (status is SnapshotStatus.STALE)


def test_a_journal_that_cannot_be_read_is_wrong():
    readings = scenes.readings(scenes.snapshot(), JournalReading(JournalStatus.UNREADABLE, problem="journal: torn"))
    assert [finding.severity for finding in find(readings)] == [FindingSeverity.BAD]
    assert "No fence" not in text_of(readings), "what is unknown is not said to be nothing"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"state": PolicyState.STOPPED, "watchdog": scenes.snapshot().watchdog._replace(armed=False)},
            "stopped in order: the watchdog is disarmed",
        ),
        ({"state": PolicyState.STOPPED}, "stopped, but not the watchdog: it resets this node"),
        ({"state": PolicyState.STARTING}, "Nothing is armed yet: no LUN has been looked at."),
        ({"state": PolicyState.SELF_FENCE, "reasons": ("its key was preempted",)}, "be reset: its key was"),
        ({"state": PolicyState.PAUSED, "paused_until_unix_s": scenes.NOW.unix_s + 600}, "paused until 19:10:00 UTC"),
        ({"watchdog": scenes.snapshot().watchdog._replace(armed=False)}, "is not armed"),
        ({"watchdog": scenes.snapshot().watchdog._replace(device="", armed=False)}, "No watchdog is configured"),
        ({"watchdog": scenes.snapshot().watchdog._replace(last_keepalive_monotonic_s=4992.0)}, "last fed 7.5 s ago"),
        ({"watchdog": scenes.snapshot().watchdog._replace(asked_timeout_s=5.0)}, "after 10 s, and not after 5.0 s"),
        ({"not_granted": ("lock memory: no",)}, "refused the sidecar what keeps it from being late (lock memory: no)"),
        ({"luns_unsettled": "pvs does not answer"}, "is not certain: pvs does not answer."),
        ({"watchdog": scenes.snapshot().watchdog._replace(worst_gap_s=8.0)}, "went unfed for 8.0 s once"),
        ({"luns": ()}, "watches no LUN"),
        ({"luns": (scenes.lun(0, registration="preempted"),)}, "key was preempted on /dev/mapper/mpatha"),
        ({"luns": (scenes.lun(0, registration="unprotected", type="", holder=""),)}, "No reservation is held"),
        ({"luns": (scenes.lun(0, type="", holder=""),)}, "No reservation is held"),
        ({"luns": (scenes.lun(0, registration="target-forgot", keys=()),)}, "has lost all registrations"),
        ({"luns": (scenes.lun(0, registration="dropped"),)}, "dropped this node's registration on /dev/mapper/mpatha"),
        ({"luns": (scenes.lun(0, registration="never"),)}, "not been registered on /dev/mapper/mpatha in this boot"),
        ({"luns": (scenes.lun(0, read_monotonic_s=4900.0),)}, "Registrations cannot be read from /dev/mapper/mpatha"),
        ({"luns": (scenes.lun(0, paths=()),)}, "/dev/mapper/mpatha is lost: no path is up."),
        ({"luns": (scenes.lun(0, paths=(scenes.path("sdb", "1", registered=False),)),)}, "key is not on it"),
        ({"luns": (scenes.lun(0, keys=(*scenes.lun(0).keys, KeySnapshot("0xbad", "", 1))),)}, "Keys of no configured"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_each_trouble_has_its_sentence(changes, words):
    readings = scenes.readings(scenes.snapshot()._replace(**changes), scenes.healthy().journal)
    assert any(words in finding.text for finding in find(readings)), [finding.text for finding in find(readings)]
    assert words in text_of(readings)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (scenes.fence(60, outcome=FenceOutcome.UNKNOWN, proofs=()), "ended without a verdict"),
        (
            scenes.fence(60, outcome=FenceOutcome.FAILURE, proofs=(), error="lost"),
            "failed 56 s ago (18:59:04 UTC): lost",
        ),
        (scenes.fence(60, proofs=(Proof.STORAGE,), weak=True), "plain PREEMPT: commands it had queued may have landed"),
        (scenes.monitor(200_000), "was last tried 2 days ago"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_trouble_of_the_journal_has_its_sentence(event, words):
    without = scenes.fenced().snapshot.snapshot
    assert any(words in finding.text for finding in find(scenes.readings(without, scenes.journal(event))))


STARTING = scenes.snapshot()._replace(
    state=PolicyState.STARTING, watchdog=scenes.NOT_ARMED, luns=(scenes.lun(0, registration="never", paths=()),)
)


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        ((), "Nothing is armed yet: no LUN has been looked at."),
        (("watchdog: /dev/watchdog0 is busy: sbd holds it",), "is busy: sbd holds it. Until then"),
        (("/dev/mapper/mpatha: our key is not registered (never)",), "Nothing is armed yet. Until then"),
    ],
)  # fmt: skip
def test_a_sidecar_that_starts_says_why_nothing_is_armed(reasons, words):
    text = text_of(scenes.readings(STARTING._replace(reasons=reasons), scenes.healthy().journal))
    assert words in text
    assert "No watchdog is configured" not in text
    assert "none armed yet" in text


@pytest.mark.parametrize(
    "state",
    [
        {"state": PolicyState.KEEPALIVE},
        {"state": PolicyState.DEGRADED},
        {"state": PolicyState.DEGRADED, "grace_remaining_s": 6.5},
        {"state": PolicyState.SELF_FENCE},
        {"state": PolicyState.STARTING},
    ],
)
def test_one_lost_lun_is_one_finding(state):
    lost = scenes.degraded().snapshot.snapshot.luns[0]
    reason = f"{lost.name}: no path left (sdb: no answer within 2 s, sdc: removed by the kernel)"
    of = scenes.snapshot()._replace(luns=(lost, scenes.lun(1)), reasons=(reason,), **state)
    found = [
        finding.text for finding in find(scenes.readings(of, scenes.healthy().journal)) if "armed" not in finding.text
    ]
    assert len(found) == 1, found
    assert lost.name in found[0]


def test_a_lost_path_of_a_degraded_node_is_one_finding():
    half = scenes.degraded().snapshot.snapshot.luns[1]
    of = scenes.snapshot()._replace(
        luns=(half,), state=PolicyState.DEGRADED, reasons=(f"{half.name}: sdb1: I/O error",)
    )
    assert [finding.page for finding in find(scenes.readings(of, scenes.healthy().journal))] == ["HalvmLastPath"]


def test_what_no_lun_tells_is_told_of_a_degraded_node():
    of = scenes.snapshot()._replace(state=PolicyState.DEGRADED, reasons=("/dev/watchdog0: keepalive: I/O error",))
    texts = [finding.text for finding in find(scenes.readings(of, scenes.healthy().journal))]
    assert texts == ["This node is degraded: /dev/watchdog0: keepalive: I/O error."]


def test_a_list_of_luns_that_is_not_settled_is_one_finding():
    why = "LVM does not answer"
    of = scenes.snapshot()._replace(state=PolicyState.DEGRADED, reasons=(why,), luns_unsettled=f"{why}; and more")
    found = find(scenes.readings(of, scenes.healthy().journal))
    assert [finding.page for finding in found] == ["HalvmLunListUnsettled"]


def test_no_bound_is_shown_that_does_not_hold():
    until = scenes.NOW.unix_s + 600
    paused = {"state": PolicyState.PAUSED, "paused_until_unix_s": until}
    for changes in (
        paused,
        {"state": PolicyState.STOPPED, "watchdog": scenes.snapshot().watchdog._replace(armed=False)},
        {"state": PolicyState.STARTING, "watchdog": scenes.NOT_ARMED},
    ):
        text = text_of(scenes.readings(scenes.snapshot()._replace(**changes), scenes.healthy().journal))
        assert "no reset" in text
        assert "is reset within" not in text
    assert "is reset within 22 s" in text_of(scenes.healthy())
    text = text_of(scenes.readings(scenes.snapshot()._replace(**paused), scenes.healthy().journal))
    assert "paused until 19:10:00 UTC, in 10 min" in text


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (scenes.fence(1800), "serv-0001 was fenced 30 min ago (18:30:04 UTC)."),
        (
            scenes.fence(1800, outcome=FenceOutcome.FAILURE, proofs=(), error="x"),
            "serv-0001 could not be fenced 30 min ago",
        ),
        (scenes.self_fence(1800), "This node reset itself 30 min ago (18:30:00 UTC): every path"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_all_is_not_well_for_an_hour_after_a_fence_even_if_the_node_is_back(event, words):
    found = find(scenes.readings(scenes.snapshot(), scenes.journal(event)))
    assert [finding.severity for finding in found] == [FindingSeverity.WARNING]
    assert words in found[0].text
    later = event._replace(at_unix_s=event.at_unix_s - 1900)
    assert find(scenes.readings(scenes.snapshot(), scenes.journal(later))) == []


def test_a_self_fence_that_only_the_sidecar_recorded_is_told():
    of = scenes.snapshot()._replace(last_self_fence_unix_s=scenes.NOW.unix_s - 60, last_self_fence_reason="lost")
    (found,) = find(scenes.readings(of, scenes.journal()))
    assert found.text == "This node reset itself 60 s ago (18:59:00 UTC): lost."


def test_all_is_not_well_while_fences_repeat():
    fences = [scenes.fence(4000 + 20_000 * number) for number in range(3)]
    (found,) = find(scenes.readings(scenes.snapshot(), scenes.journal(*fences)))
    assert (found.severity, found.page) == (FindingSeverity.WARNING, "HalvmFenceLoop")
    assert find(scenes.readings(scenes.snapshot(), scenes.journal(*fences[:2]))) == []


def test_a_fence_is_no_news_an_hour_after_the_node_is_back():
    failed = scenes.fence(3700, outcome=FenceOutcome.FAILURE, proofs=(), error="lost")
    assert find(scenes.readings(scenes.snapshot(), scenes.journal(failed))) == []


def test_every_finding_links_to_its_page_of_the_runbook():
    pages = {line[3:] for line in RUNBOOK.read_text().splitlines() if line.startswith("## Halvm")}
    source = "".join(map(inspect.getsource, (findings, journal_findings, lun_findings)))
    named = set(re.findall(r'"(Halvm\w+)"', source))
    assert named
    assert named <= pages
    found = find(scenes.degraded())
    page = render(scenes.degraded(), "0")
    for finding in found:
        assert f'href="/runbook#{finding.page.lower()}"' in page


def test_two_hundred_fences_are_a_page_of_fifty():
    fences = [scenes.fence(60 + 3600 * n) for n in range(200)]
    page = render(scenes.readings(scenes.snapshot(), scenes.journal(*fences)), "0.1.0")
    assert page.count("fenced serv-0001 (reboot)") == 50
    assert "150 earlier: " in Reader(page).text
    assert len(page) < 200_000


def test_of_many_luns_those_that_are_odd_come_first():
    of = scenes.snapshot(nodes=3, luns=30)
    cut = of.luns[17]._replace(paths=(scenes.path("sdx", "9:0:0:0", up=False), scenes.path("sdy", "9:0:0:1")))
    of = of._replace(luns=(*of.luns[:17], cut, *of.luns[18:]))
    page = render(scenes.readings(of, scenes.healthy().journal), "0")
    assert page.count("29 LUNs as they should be") == 2
    assert page.index(cut.wwid) < page.index("29 LUNs as they should be") < page.index(of.luns[0].wwid)


def hostile(text: str):
    """The text in every place where a snapshot or a journal has one."""
    of = scenes.snapshot()
    paths = (scenes.path(text, text, up=False, error=text), scenes.path(text, text))
    mine = scenes.lun(
        0, name=text, wwid=text, holder=text, type=text or "x", paths=paths, keys=(KeySnapshot(text, text, 1),)
    )
    of = of._replace(
        node=text,
        key=text,
        version=text,
        state=PolicyState.DEGRADED,
        reasons=(text,),
        nodes=(scenes.NodeSnapshot(text, text), scenes.NodeSnapshot("x" + text, "0x1")),
        luns=(mine, scenes.lun(1, name=text, error=text)),
        watchdog=of.watchdog._replace(device=text or "x", identity=text),
        last_self_fence_reason=text,
        last_self_fence_unix_s=scenes.NOW.unix_s,
    )
    steps = (scenes.Step(1.0, text),)
    words = {"actor": text, "target": text, "action": text, "error": text, "steps": steps, "program": text}
    events = [
        make(outcome=outcome, **words)
        for make in (scenes.fence, scenes.monitor, scenes.unfence, scenes.self_fence)
        for outcome in FenceOutcome
    ]
    return scenes.readings(of, scenes.journal(*events))


_ELEMENTS = """html head meta link title style body header main section footer h1 h2 p ul ol li span br div table thead
    tbody tr th td code dl dt dd meter strong details summary a"""
_ATTRIBUTES = """aria-label charset class colspan content data-of high href http-equiv lang low max min name optimum rel
    role scope tabindex value"""
ALLOWED, ATTRIBUTES = set(_ELEMENTS.split()), set(_ATTRIBUTES.split())


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=60)
    | st.just(HOSTILE)
    | st.sampled_from(["\ud800", "\x00", "\u202e", "]]>", "<!--", "&lt;", "'><b>"])
)
def test_no_text_becomes_markup(text):
    page = render(hostile(text), text)
    page.encode("utf-8", "strict")
    read = Reader(page)
    assert set(read.elements) <= ALLOWED
    assert read.attributes <= ATTRIBUTES
    assert "\u202e" not in page


def test_a_node_named_script_is_read_as_that():
    assert HOSTILE in Reader(render(hostile(HOSTILE), "0")).text


def test_the_policy_allows_the_style_and_nothing_else():
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    page = render(scenes.healthy(), "0")
    assert "<script" not in page
    assert " style=" not in page
    assert "http://" not in page
