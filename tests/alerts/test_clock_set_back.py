# SPDX-License-Identifier: Apache-2.0
"""From the journal to the alert: a failure is heard although the success before it was recorded by a clock ahead."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fencer.exporter.metrics.collector import HalvmCollector
from fencer.exporter.sources import Sources
from fencer.journal.event import Event, FenceOutcome
from fencer.journal.file import Journal
from fencer.state.readings import Now
from tests import scenes
from tests.alerts.test_alert_rules import RULES
from tests.exporter.metrics.promtool import promtool

FAILED = {"outcome": FenceOutcome.FAILURE, "proofs": (), "error": "192.168.1.50: login: no answer", "steps": ()}
SCRAPED = 'cluster="ha", job="fence-halvm", instance="serv-0002"'


def _at(unix_s: float, event: Event) -> Event:
    """promtool's time begins at 0."""
    return event._replace(at_unix_s=unix_s)


def _series(directory: Path) -> list[dict[str, str]]:
    """Of the journal there, as promtool takes them: each has had its value for half an hour."""
    sources = Sources(
        directory / "none.json",
        directory / "journal.db",
        lambda: Now(time.time(), time.monotonic()),
        lambda _: None,
    )
    gathered = HalvmCollector(sources.read, time.monotonic, "0.1.0", "3.11.2").gather()
    return [
        {
            "series": f'{family.metric.name}{{{SCRAPED}, target="{target}"}}',
            "values": f"{value!r}x30",
        }
        for family in gathered
        if family.metric.labels == ("target",)
        for (target,), value in family.series.items()
    ]


@pytest.mark.peer
@pytest.mark.parametrize(
    ("make", "alert"), [(scenes.fence, "HalvmFenceFailed"), (scenes.monitor, "HalvmMonitorFailing")]
)
def test_a_failure_after_the_clock_was_set_back_alerts(tmp_path: Path, make: Callable[..., Event], alert: str) -> None:
    tmp_path.chmod(0o755)
    journal = Journal(str(tmp_path / "journal.db"))
    journal.append(_at(7200.0, make()))
    journal.append(_at(1500.0, make(**FAILED)))
    firing = 'count by (alertname) (ALERTS{alertstate="firing", severity="critical"})'
    case = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": _series(tmp_path),
                "promql_expr_test": [
                    {
                        "expr": firing,
                        "eval_time": "30m",
                        "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1}],
                    }
                ],
            }
        ],
    }
    (tmp_path / "case.yml").write_text(yaml.safe_dump(case))
    done = subprocess.run(
        [promtool(), "test", "rules", str(tmp_path / "case.yml")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
