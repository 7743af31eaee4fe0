# SPDX-License-Identifier: Apache-2.0
"""packaging/prometheus: the rules are valid, do what they say and name what exists; each alert has its runbook page."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alerts.promql import complaints, selectors
from tests.rig import require_program

ROOT = Path(__file__).parents[2]
PACKAGED = ROOT / "packaging/prometheus"
RULES = PACKAGED / "fence-halvm.rules.yml"
CASES = sorted(PACKAGED.glob("*.test.yml"))
RUNBOOK = ROOT / "docs/runbook.md"


def _rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def _cases() -> list[dict[str, Any]]:
    return [case for path in CASES for case in yaml.safe_load(path.read_text())["tests"]]


ALERTS = [rule for rule in _rules() if "alert" in rule]
RECORDED = {
    rule["record"]: frozenset(rule["record"].partition(":")[0].split("_")) for rule in _rules() if "record" in rule
}
NAMES = [alert["alert"] for alert in ALERTS]


LIMIT_S = 3600  # against a hang only: it needs 7 s of a processor, of which a busy machine may give it 1 %


def _promtool(*arguments: str) -> None:
    command = [require_program("promtool", "prometheus"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.peer
def test_promtool_takes_the_rules() -> None:
    _promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


@pytest.mark.peer
def test_promtool_takes_the_scrape_configuration() -> None:
    _promtool("check", "config", str(PACKAGED / "scrape-config.yml"))


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 20)
@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.name)
def test_every_alert_does_what_its_cases_say(cases: Path) -> None:
    _promtool("test", "rules", str(cases))


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_has_a_case_that_is_quiet_then_fires_then_is_quiet(name: str) -> None:
    stories = []
    for case in _cases():
        checks = [check for check in case["alert_rule_test"] if check["alertname"] == name]
        checks.sort(key=lambda check: _seconds(check["eval_time"]))
        stories.append("".join("!" if check.get("exp_alerts") else "." for check in checks))
    assert any(re.search(r"\.!+\.", story) for story in stories), stories


@pytest.mark.parametrize("rule", _rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_names_what_exists(rule: dict[str, Any]) -> None:
    assert list(selectors(rule["expr"]))
    assert complaints(rule["expr"], RECORDED, frozenset()) == []


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_every_alert_tells_who_how_bad_and_where_to_read(alert: dict[str, Any]) -> None:
    name, notes = alert["alert"], alert["annotations"]
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert notes["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    used = set(re.findall(r"\$labels\.(\w+)", notes["summary"] + notes["description"]))
    for check in _checks(name):
        for expected in check["exp_alerts"]:
            assert used <= {"alertname", *expected["exp_labels"]}  # else the text would have a hole
            assert expected["exp_labels"]["severity"] == alert["labels"]["severity"]


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_has_its_page_in_the_runbook(name: str) -> None:
    pages = re.split(r"^## ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]
    page = next((page for page in pages if page.splitlines()[0] == name), None)
    assert page is not None
    for part in ("**Means**", "**Look**", "**Do**", "**Worry**", "**Ends**"):
        assert part in page, part
    assert "    " in page  # something to type


def test_the_runbook_has_no_page_of_an_alert_that_is_not() -> None:
    assert set(re.findall(r"^## (Halvm\w+)$", RUNBOOK.read_text(), flags=re.MULTILINE)) == set(NAMES)


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("halvm_sidecar_sate == 1", "no such metric"),
        ('halvm_sidecar_state{registration="x"} == 1', "has no label registration"),
        ('halvm_sidecar_state{state="self_fence"} == 1', "matches none"),
        ('halvm_lun_registration{registration=~"preempted|shut_out"} == 1', "names what cannot be"),
        ("max by (lnu) (halvm_lun_paths)", "no label is called lnu"),
    ],
)
def test_a_name_that_does_not_exist_is_found(expression: str, complaint: str) -> None:
    assert complaint in " ".join(complaints(expression, RECORDED, frozenset()))


def _checks(name: str) -> list[dict[str, Any]]:
    return [
        check
        for case in _cases()
        for check in case["alert_rule_test"]
        if check["alertname"] == name and check.get("exp_alerts")
    ]


def _seconds(duration: str) -> int:
    return sum(
        int(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in re.findall(r"(\d+)([hms])", duration)
    )
