# SPDX-License-Identifier: Apache-2.0
"""packaging/prometheus/scrape-config.yml with a real Prometheus and a real exporter."""

from pathlib import Path

import pytest
import yaml

from tests.alerts.server import prometheus
from tests.alerts.test_alert_rules import PACKAGED
from tests.exporter.conftest import Place
from tests.exporter.rig import Exporter


@pytest.mark.peer
@pytest.mark.slow
def test_our_labels_survive_a_target_that_has_them_too(tmp_path: Path) -> None:
    """As inventories and service discovery give them. The alerts find the node that they are about."""
    Place(tmp_path).publish()
    config = yaml.safe_load((PACKAGED / "scrape-config.yml").read_text())
    del config["rule_files"]
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    with Exporter(tmp_path) as exporter:
        labels = {"cluster": "ha-lvm", "node": "rack-7", "target": "rack-7", "key": "rack-7"}
        address = f"127.0.0.1:{exporter.port}"
        config["scrape_configs"][0]["static_configs"] = [{"targets": [address], "labels": labels}]
        (tmp_path / "prometheus").mkdir()
        with prometheus(yaml.safe_dump(config), tmp_path / "prometheus") as api:
            found = api.wait_until("halvm_lun_registrations", 60)
            assert {each.labels["node"] for each in found} == {"serv-0001", "serv-0002"}
            assert not any("exported_node" in each.labels for each in found)
            assert {each.labels["node"] for each in api.query("halvm_sidecar_info")} == {"serv-0002"}
            assert {each.labels["instance"] for each in found} == {"127.0.0.1"}
