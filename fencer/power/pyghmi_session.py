# SPDX-License-Identifier: Apache-2.0
"""pyghmi's session class, loaded without what it imports and does not need here, where that is possible.

pyghmi imports it for AES alone. Debian 12's version brings X.509, bcrypt and more along: over half of the processor
time of a fence by power (docs/decisions/0013, docs/packaging.md). While pyghmi is imported, fencer.power.libcrypto
stands in its place. So do the C halves of ``random``, ``socket`` and ``threading``, whose Python halves cost as much
as the login: our session draws random numbers for timers only, has no thread and gets its datagrams from
fencer.power.udp. Where that cannot be (no such libcrypto, a pyghmi that wants more), pyghmi gets all as it is. A
process that has loaded one of these modules already keeps it.
"""

import sys
from types import ModuleType

_PACKAGE = "cryptography"
_SESSION = "pyghmi.ipmi.private.session"


def _stand_ins() -> dict[str, ModuleType]:
    """The modules that pyghmi imports, by name. Raises ImportError where there is no libcrypto for them."""
    import _random
    import _socket
    import _thread

    from fencer.power import libcrypto

    def module(name: str, **contents: object) -> ModuleType:
        made = ModuleType(name)
        made.__dict__.update(contents, __path__=[])
        return made

    primitives = f"{_PACKAGE}.hazmat.primitives"
    # Whatever else pyghmi would want of these is an AttributeError: while it is imported it then gets all as it is, in
    # a session that is a failed attempt at the BMC.
    light = {
        "random": module("random", random=_random.Random().random),
        "socket": _socket,
        "threading": module("threading", Thread=object, Lock=_thread.allocate_lock, RLock=_thread.RLock),
    }
    return {name: stand_in for name, stand_in in light.items() if name not in sys.modules} | {
        _PACKAGE: module(_PACKAGE),
        f"{_PACKAGE}.hazmat": module(f"{_PACKAGE}.hazmat"),
        f"{_PACKAGE}.hazmat.backends": module(f"{_PACKAGE}.hazmat.backends", default_backend=lambda: None),
        primitives: module(primitives),
        f"{primitives}.ciphers": module(
            f"{primitives}.ciphers", algorithms=libcrypto, modes=libcrypto, Cipher=libcrypto.Cipher
        ),
    }


def _load_light() -> None:
    """Imports pyghmi's session with the stand-ins, and takes them away again. Does nothing where it cannot."""
    if _PACKAGE in sys.modules or _SESSION in sys.modules:
        return
    try:
        stand_ins = _stand_ins()
    except ImportError:
        return
    sys.modules.update(stand_ins)
    try:
        import pyghmi.ipmi.private.session  # noqa: F401
    except (ImportError, AttributeError):  # it wants more of the package than this
        sys.modules.pop(_SESSION, None)  # the import below does without
    finally:
        for name in [name for name in sys.modules if name in stand_ins or name.partition(".")[0] == _PACKAGE]:
            del sys.modules[name]


_load_light()

from pyghmi.ipmi.private.session import Session  # noqa: E402 - after the stand-ins

__all__ = ("Session",)
