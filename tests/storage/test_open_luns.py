# SPDX-License-Identifier: Apache-2.0
"""The paths of a LUN that was looked up by its name lead to that LUN, or are not used."""

import pytest

from fencer.errors import StorageRefused
from fencer.storage import open_luns, sgutils
from fencer.storage.lun import Lun
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import A, B, deadline, registered


@pytest.mark.parametrize("paths", [("/dev/sdb",), ("/dev/sdb", "/dev/sdc")])
def test_a_disk_that_is_another_lun_since_the_kernel_found_it_is_not_used(
    paths: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """sysfs names the LUN that the kernel found. The array has mapped another one under its number since."""
    mapped = registered("a", "b")
    monkeypatch.setattr(sgutils, "SgTransport", lambda path, wwid: mapped.nexus("a"))
    there = open_luns._disk(Lun(mapped.wwid, "disk", paths, None, ""), False)
    assert there.look(deadline()).keys == {A, B}
    gone = open_luns._disk(Lun(FakeTarget(wwid="naa.6001405fffffffff").wwid, "disk", paths, None, ""), False)
    with pytest.raises(StorageRefused, match=f"it is another LUN now, {mapped.wwid}, and was naa.6001405fffffffff"):
        gone.look(deadline())
