# SPDX-License-Identifier: Apache-2.0
"""Which package a missing library is in, by the os-release of the distributions."""

import pytest

from fencer.storage.library_packages import Library, package_here, package_of, parse_os_release

DEBIAN_12 = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n'
DEBIAN_13 = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nID=debian\n'
DEBIAN_SID = 'PRETTY_NAME="Debian GNU/Linux forky/sid"\nID=debian\n'
UBUNTU = 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n'
UBUNTU_NEXT = 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="27.04"\n'
FEDORA = "NAME='Fedora Linux'\nVERSION_ID=42\nID=fedora\n"
RHEL = 'ID="rhel"\nID_LIKE="fedora"\nVERSION_ID="10.0"\n'
ROCKY = 'ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="10.0"\n'
LEAP = 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\nVERSION_ID="15.6"\n'
SLES = 'ID="sles"\nID_LIKE="suse"\nVERSION_ID="15.6"\n'


@pytest.mark.parametrize(
    ("os_release", "sgutils", "iscsi"),
    [
        (DEBIAN_12, "libsgutils2-1.46-2", "libiscsi7"),
        (DEBIAN_13, "libsgutils2-1.48", "libiscsi7"),
        (DEBIAN_SID, "sg3-utils", "libiscsi7"),
        (UBUNTU, "libsgutils2-1.46-2", "libiscsi7"),
        (UBUNTU_NEXT, "sg3-utils", "libiscsi7"),
        (FEDORA, "sg3_utils-libs", "libiscsi"),
        (RHEL, "sg3_utils-libs", "libiscsi"),
        (ROCKY, "sg3_utils-libs", "libiscsi"),
        (LEAP, "sg3_utils", "libiscsi-utils"),
        (SLES, "sg3_utils", "libiscsi-utils"),
        ("ID=plan9\n", "that has libsgutils2", "that has libiscsi"),
        ("# ID=debian\n=\n\0", "that has libsgutils2", "that has libiscsi"),
        ("", "that has libsgutils2", "that has libiscsi"),
    ],
)
def test_the_package_of_each_distribution(os_release: str, sgutils: str, iscsi: str) -> None:
    values = parse_os_release(os_release)
    assert (package_of(Library.SGUTILS, values), package_of(Library.ISCSI, values)) == (sgutils, iscsi)


def test_this_host_has_an_answer() -> None:
    assert package_here("sgutils2")
    assert package_here("iscsi")
