# SPDX-License-Identifier: Apache-2.0
"""Loads a C library by a table of signatures, and reports what is missing. For adapters only."""

import ctypes
from collections.abc import Callable, Mapping, Sequence

from fencer._typing import Any, NamedTuple
from fencer.errors import StorageError


class Signature(NamedTuple):
    """One C function: result and argument types, and the ctypes errcheck that judges each result, if any.

    A pointer is always c_void_p: ctypes' default, int, cuts it to 32 bits.

    quick: it waits for nothing, so it keeps the GIL. Giving that up and taking it again costs many times such a call
    where other threads wait for it.
    """

    result: Any
    arguments: tuple[Any, ...]
    check: Callable[[Any, Any, tuple[Any, ...]], Any] | None = None
    quick: bool = False


def load(sonames: Sequence[str], name: str, functions: Mapping[str, Signature]) -> ctypes.CDLL:
    """The first of sonames that loads, or what ctypes.util finds under name; every function gets its signature.

    name: one of fencer.storage.library_packages.Library. Raises StorageError for a missing library and for a missing
    function.
    """
    library = _open(sonames, name)
    quick = ctypes.PyDLL(library._name)
    for function_name, signature in functions.items():
        try:
            function = getattr(quick if signature.quick else library, function_name)
        except AttributeError as error:
            raise StorageError(
                f"{library._name}: function {function_name} is missing: install another version of the package "
                f"{_package(name)}"
            ) from error
        function.restype = signature.result
        function.argtypes = signature.arguments
        if signature.check is not None:
            function.errcheck = signature.check
        setattr(library, function_name, function)
    return library


def _open(sonames: Sequence[str], name: str) -> ctypes.CDLL:
    reasons = []
    for soname in sonames:
        try:
            return ctypes.CDLL(soname)  # CDLL, not PyDLL: the GIL is released while C runs; see Signature.quick
        except OSError as error:
            reasons.append(str(error))
    # Last, because it may start a compiler or ldconfig, and does not find Debian 12's libsgutils2 at all.
    from ctypes import util  # brings subprocess, shutil, lzma

    found = util.find_library(name)
    if found is not None:
        try:
            return ctypes.CDLL(found)
        except OSError as error:
            reasons.append(str(error))
    raise StorageError(f"lib{name}: cannot be loaded: install the package {_package(name)} ({reasons[0]})")


def _package(name: str) -> str:
    from fencer.storage.library_packages import package_here  # only where one is missing

    return package_here(name)
