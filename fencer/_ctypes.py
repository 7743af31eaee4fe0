# SPDX-License-Identifier: Apache-2.0
"""The module ``ctypes``, loaded without ``sysconfig``.

Since Python 3.14 ctypes imports sysconfig, and uses it on Android only. It brings threading along.

The rule: a module that a fence or the sidecar loads takes ``ctypes`` from here (docs/decisions/0004).
"""

import sys

from fencer._typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes
else:

    def _load_light() -> None:
        """Imports ctypes with an empty sysconfig, and takes that away again. Does nothing where it cannot."""
        if sys.version_info < (3, 14) or "ctypes" in sys.modules or "sysconfig" in sys.modules:
            return
        sys.modules["sysconfig"] = type(sys)("sysconfig")
        try:
            import ctypes  # noqa: F401
        except AttributeError:  # it does use it: the import below does without
            pass
        finally:
            del sys.modules["sysconfig"]

    _load_light()

    import ctypes

__all__ = ("ctypes",)
