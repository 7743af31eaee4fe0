"""Files that a fence reads or writes beside its work: whatever is wrong with them, the fence is what counts."""

from pathlib import Path

import pytest

from tests.agent.halvm import halvm
from tests.rig.bmc import Bmc


def stdin(bmc: Bmc, *lines: str) -> str:
    """A fence that names everything itself."""
    known = (f"ip={bmc.address}", f"ipport={bmc.port}", "login=ADMIN", "passwd=ADMIN", "action=off", "nodename=b")
    return "\n".join((*known, *lines)) + "\n"


@pytest.mark.parametrize(
    "content", ["<cluster><clusternodes></cluster>", "", "<!DOCTYPE x><cluster/>", "x" * (2 << 20), None]
)
def test_a_file_that_the_fence_does_not_need_is_one_warning(bmc: Bmc, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "cluster.conf"
    if content is not None:
        path.write_text(content)
    outcome = halvm(stdin=stdin(bmc, f"cluster_conf={path}"))
    assert (outcome.status, outcome.stdout, bmc.power) == (0, "Success: Powered OFF\n", "off")
    warnings = [line for line in outcome.lines if line.startswith("WARNING")]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"WARNING: cluster_conf: {path}")
