# SPDX-License-Identifier: Apache-2.0
"""packaging/grafana/fence-halvm.json: can be imported, asks for what exists, shows something of our golden metrics."""

import itertools
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.alerts.promql import complaints
from tests.alerts.server import Api, prometheus
from tests.rig import require_program

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "packaging/grafana/fence-halvm.json").read_text())
GOLDEN = ROOT / "tests/exporter/metrics/golden"

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
VARIABLES = frozenset({"$cluster", "$instance"})
GRAFANAS = {"$__rate_interval": "1m", "$__range": "1h", "$cluster": ".*", "$instance": ".*"}
"""What Grafana puts in for its variables."""

PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ANNOTATIONS = [each for each in DASHBOARD["annotations"]["list"] if not each.get("builtIn")]
EXPRESSIONS = {
    **{f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]},
    **{f"annotation {each['name']}": each["expr"] for each in ANNOTATIONS},
}
QUIET = {"Alerts A"}
"""Panels that are empty when all is well."""


def _as_asked(expression: str) -> str:
    for name, value in GRAFANAS.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression


BESIDE_THE_MODEL = {
    "__inputs", "__requires",  # of the file, for who imports it
    "templating.list.definition", "annotations.list.step", "annotations.list.tagKeys",
    "annotations.list.textFormat", "annotations.list.titleFormat", "annotations.list.useValueForTime",
}  # fmt: skip
"""What Grafana writes into its exports and reads from them, and its own model leaves out."""


def _lost(given: Any, kept: Any, where: str = "") -> Iterator[str]:
    """Fields of given that kept has not, or not so."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for name, value in given.items():
            path = f"{where}.{name}".lstrip(".")
            if name in kept:
                yield from _lost(value, kept[name], path)
            else:
                yield path
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for one, other in zip(given, kept, strict=True):
            yield from _lost(one, other, where)
    elif given != kept:
        yield where


def _by_grafanas_model(dashboard: dict[str, Any]) -> set[str]:
    register_default_plugins()
    return set(_lost(dashboard, json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))))


def test_grafanas_own_model_knows_every_field() -> None:
    assert _by_grafanas_model(DASHBOARD) == BESIDE_THE_MODEL


def test_grafanas_own_model_drops_what_it_does_not_know() -> None:
    panel = {**PANELS[0], "gridpos": {}, "options": {**PANELS[0]["options"], "colourMode": "value"}}
    lost = _by_grafanas_model({**DASHBOARD, "panels": [panel]})
    assert lost - BESIDE_THE_MODEL == {"panels.gridpos", "panels.options.colourMode"}


def test_rows_tell_the_story() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Is all well?", "Fences", "Reservations", "Paths", "Watchdog", "Monitors", "Exporter"]


def test_it_can_be_imported_anywhere() -> None:
    """No id and no data source of the Grafana it was made in; the variables choose."""
    assert DASHBOARD.get("id") is None
    assert {each["name"]: each["type"] for each in DASHBOARD["templating"]["list"]} == {
        "datasource": "datasource",
        "cluster": "query",
        "instance": "query",
    }
    for holder in (*PANELS, *ANNOTATIONS, *itertools.chain(*(panel["targets"] for panel in PANELS))):
        assert holder["datasource"] == SOURCE
    for variable in DASHBOARD["templating"]["list"][1:]:
        assert variable["datasource"] == SOURCE
        query = re.fullmatch(r"label_values\((.+), (cluster|instance)\)", variable["query"]["query"])
        assert query
        assert complaints(query[1], {}, VARIABLES) == []


def test_panels_lie_side_by_side() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        covered = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert place["x"] + place["w"] <= 24
        assert not covered & cells, panel["title"]
        cells |= covered


def test_every_panel_lets_one_choose_the_node() -> None:
    for name, expression in EXPRESSIONS.items():
        if "ALERTS" not in expression:
            assert expression.count("{") == expression.count('{cluster=~"$cluster", instance=~"$instance"'), name


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_a_nodes_timestamp_that_is_shown_as_a_time_is_corrected_by_its_clock(name: str) -> None:
    expression = EXPRESSIONS[name]
    shown_as_time = "time()" in expression or "* 1000" in expression
    stamps = len(re.findall(r"halvm_\w+_timestamp_seconds", expression))
    assert not shown_as_time or expression.count("- timestamp(halvm_exporter_clock_seconds{") == stamps > 0


@pytest.mark.parametrize(
    "metric",
    [
        "halvm_watchdog_software",
        "halvm_watchdog_timeout_seconds",
        "halvm_watchdog_asked_timeout_seconds",
        "halvm_sidecar_luns_unsettled",
        "halvm_sidecar_observer_restarts_total",
        "halvm_exporter_web_config_current",
        "halvm_exporter_clock_seconds",
    ],
)
def test_what_an_alert_watches_has_a_panel(metric: str) -> None:
    panels = [expression for name, expression in EXPRESSIONS.items() if not name.startswith("annotation")]
    assert any(f"{metric}{{" in expression for expression in panels)


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS.keys())
def test_every_expression_names_what_exists(expression: str) -> None:
    assert complaints(expression, {}, VARIABLES) == []


@pytest.mark.peer
def test_promtool_parses_every_expression(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": _as_asked(each)} for n, each in enumerate(EXPRESSIONS.values())]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    command = [require_program("promtool", "prometheus"), "check", "rules", str(tmp_path / "rules.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class _Quiet(SimpleHTTPRequestHandler):
    def guess_type(self, _path: object) -> str:
        return "text/plain; version=0.0.4"  # Prometheus 3 takes no other type

    def log_message(self, *_: object) -> None:
        """Not on the tests' output."""


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A Prometheus that scrapes the golden metrics as if they were two nodes, twice at least."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(GOLDEN)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{server.server_port}"
    nodes = [
        {"targets": [address], "labels": {"__metrics_path__": f"/{file}.metrics", "instance": node, "cluster": "ha"}}
        for file, node in (("fenced", "serv-0001"), ("healthy", "serv-0002"))
    ]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "scrape_configs": [{"job_name": "fence-halvm", "static_configs": nodes}],
    }
    try:
        with prometheus(yaml.safe_dump(config), tmp_path_factory.mktemp("prometheus")) as api:
            api.wait_until("count(count_over_time(halvm_exporter_build_info[1m]) >= 3) == 2", 90)
            yield api
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(EXPRESSIONS) - QUIET))
def test_every_panel_shows_something(scraped: Api, name: str) -> None:
    assert scraped.query(_as_asked(EXPRESSIONS[name])), EXPRESSIONS[name]
