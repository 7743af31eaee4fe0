# SPDX-License-Identifier: Apache-2.0
"""halvmctl on a node on which corosync and Pacemaker really run. A whole cluster is in the lab."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
UNSHARE = ("unshare", "--net", "--mount", "--uts", "--pid", "--ipc", "--fork", "--mount-proc", "--kill-child")


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[str, tuple[int, dict[str, Any]]]:
    """Exit status and JSON of status and of check."""
    if os.geteuid() != 0:
        pytest.skip("only root can have namespaces of its own")
    for program in ("corosync", "pacemakerd", "crm_mon"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}: tests/host-packages.txt")
    out = tmp_path_factory.mktemp("cluster")
    halvmctl = [sys.executable, HERE.parents[1] / "agents/halvmctl.py"]
    command = [*UNSHARE, HERE / "living_cluster.sh", HERE / "good", out, *halvmctl]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return {
        word: (int((out / f"{word}.rc").read_text()), json.loads((out / f"{word}.json").read_text()))
        for word in ("status", "check")
    }


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.timeout(500)
def test_the_status_of_a_node_that_is_alone(said):
    status, view = said["status"]
    assert (view["cluster"], view["node"], view["nodes"]) == ("lvm-cluster", "serv-0001", ["serv-0001", "serv-0002"])
    assert view["quorum"]["quorate"] is True
    assert [member["name"] for member in view["quorum"]["members"]] == ["serv-0001"]
    assert view["pacemaker"]["dc"] == "serv-0001"
    assert [each["name"] for each in view["pacemaker"]["resources"]] == [
        "fence-serv-0001",
        "fence-serv-0002",
        "vg",
        "fs",
    ]
    told = {remark["text"]: remark["weight"] for remark in view["remarks"]}
    assert told["corosync does not see serv-0002: there is nothing to fail over to"] == "warning"
    assert told["volume group shared_vg is not visible on this node"] == "fault"
    assert told["resource fs is stopped"] == "fault"
    assert status == view["status"] == 2


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.timeout(500)
def test_the_check_of_a_node_that_is_alone(said):
    """corosync.conf is spoiled by what a node alone needs; neither password script nor volume group exist here."""
    status, document = said["check"]
    told = [(each["source"], each["weight"], each["text"]) for each in document["findings"]]
    files = {source for source, _, _ in told}
    assert ("/etc/corosync/corosync.conf", "fault") in {(source, weight) for source, weight, _ in told}
    assert any("wait_for_all: 0" in text for _, _, text in told)
    for node in ("serv-0001", "serv-0002"):
        (device,) = [text for _, _, text in told if f"device fence-{node}:" in text]
        assert "fence_halvm -o validate-all: password_script: no such command" in device
    assert [text for _, _, text in told if "there is no volume group shared_vg on this node" in text]
    assert "CIB" not in files  # it was read, of the running cluster
    assert status == document["status"] == 2
