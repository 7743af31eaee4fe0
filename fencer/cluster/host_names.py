# SPDX-License-Identifier: Apache-2.0
"""Finds the node of a cluster that has the names of a host."""

from collections.abc import Iterable, Sequence


def match_host_names(node_names: Sequence[str], host_names: Iterable[str]) -> int | None:
    """Index of the one node name that is a host name; failing that, of the one that is a host name up to its domain.

    Compared without case. ``serv-0001`` and ``serv-0001.example.com`` match either way round; two names with different
    domains do not. None when nothing or more than one node matches: a wrong guess would fence the wrong node.
    """
    hosts = {name.casefold() for name in host_names if name}
    names = [name.casefold() for name in node_names]
    exact = [index for index, name in enumerate(names) if name in hosts]
    if exact:
        return exact[0] if len(exact) == 1 else None
    similar = [index for index, name in enumerate(names) if any(_same_up_to_domain(name, host) for host in hosts)]
    return similar[0] if len(similar) == 1 else None


def is_address(name: str) -> bool:
    """Whether it reads as an IP address: no top-level domain is a number (RFC 3696 2)."""
    return ":" in name or name.rpartition(".")[2].isdigit()


def _same_up_to_domain(one: str, other: str) -> bool:
    """True when one is the other's first label. An IP address has no first label."""

    def is_short_for(short: str, full: str) -> bool:
        label, dot, domain = full.partition(".")
        return bool(short and dot) and label == short and not is_address(domain)

    return is_short_for(one, other) or is_short_for(other, one)
