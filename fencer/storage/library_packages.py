# SPDX-License-Identifier: Apache-2.0
"""Which package of this distribution has a C library, for the message that says that it is missing.

Distributions are told apart by os-release(5). Where the package's name holds a version that is not known here, the
tools are named that depend on it: they bring the right one.
"""

from collections.abc import Iterable, Mapping

from fencer._enum import Enum
from fencer.regular_file import read_regular_file

OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")


class Library(Enum):
    """The C libraries that this project loads, by the names under which the linker finds them."""

    SGUTILS = "sgutils2"
    ISCSI = "iscsi"


_DEBIAN = {Library.SGUTILS: "sg3-utils", Library.ISCSI: "libiscsi7"}
_SGUTILS_OF_RELEASE = {
    ("debian", "12"): "libsgutils2-1.46-2",
    ("debian", "13"): "libsgutils2-1.48",
    ("ubuntu", "24.04"): "libsgutils2-1.46-2",
    ("ubuntu", "25.10"): "libsgutils2-1.48",
    ("ubuntu", "26.04"): "libsgutils2-1.48",
}
_FEDORA = {Library.SGUTILS: "sg3_utils-libs", Library.ISCSI: "libiscsi"}
_SUSE = {Library.SGUTILS: "sg3_utils", Library.ISCSI: "libiscsi-utils"}  # theirs has the soname in its name
_FAMILIES = (
    (frozenset({"debian", "ubuntu"}), _DEBIAN),
    (frozenset({"fedora", "rhel", "centos"}), _FEDORA),
    (frozenset({"suse", "opensuse", "sles"}), _SUSE),
)


def package_of(library: Library, os_release: Mapping[str, str]) -> str:
    """The package's name, or what to look for where the distribution is not known. Pure."""
    identity = os_release.get("ID", "")
    if library is Library.SGUTILS and (identity, os_release.get("VERSION_ID", "")) in _SGUTILS_OF_RELEASE:
        return _SGUTILS_OF_RELEASE[identity, os_release["VERSION_ID"]]
    names = {identity, *os_release.get("ID_LIKE", "").split()}
    for family, packages in _FAMILIES:
        if names & family:
            return packages[library]
    return f"that has lib{library.value}"


def package_here(name: str) -> str:
    """The package on this host. name: the linker's name of the library, ``sgutils2``."""
    return package_of(Library(name), parse_os_release(_content()))


def parse_os_release(text: str) -> dict[str, str]:
    """Variables of os-release(5), without their quotes. The values looked at here need no escapes. Pure."""
    values: dict[str, str] = {}
    for line in text.split("\n"):
        name, found, value = line.strip().partition("=")
        if found and not name.startswith("#"):
            values[name] = value.strip("\"'")
    return values


def _content(paths: Iterable[str] = OS_RELEASE) -> str:
    for path in paths:
        try:
            return read_regular_file(path, link=True).decode("utf-8", "replace")
        except (OSError, ValueError):
            continue
    return ""
