# SPDX-License-Identifier: Apache-2.0
"""Unfencing with the attributes of a fencedevice that also names a BMC: the BMC is not asked, and not waited for."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig import require_library
from tests.rig.target import Target

pytestmark = pytest.mark.peer

CLUSTER_CONF = """\
<cluster name="c" config_version="1">
  <clusternodes><clusternode name="serv-0001" nodeid="1"/><clusternode name="serv-0002" nodeid="2"/></clusternodes>
</cluster>
"""


def test_unfencing_neither_asks_nor_awaits_the_bmc(tmp_path: Path) -> None:
    require_library("libiscsi7", "libiscsi.so.7")
    if os.geteuid() != 0:
        pytest.skip("tgtd runs only as root")
    conf = tmp_path / "cluster.conf"
    conf.write_text(CLUSTER_CONF)
    with Target() as target:
        lines = {
            "action": "on",
            "nodename": "serv-0001",
            "local_node": "serv-0001",
            "cluster_conf": str(conf),
            "ipaddr": "127.0.0.1",
            "ipport": "9",
            "devices": target.url(1),
            "state_dir": str(tmp_path),
            "journal": str(tmp_path / "journal.db"),
            "verbose": "1",
            "deadline": "20",
        }
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from fencer.agent.main import main; sys.exit(main())"],
            input="".join(f"{name}={value}\n" for name, value in lines.items()),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert "BMC" not in done.stderr
    assert "trying again" not in done.stderr
    assert re.search(r"key registered", done.stderr)
