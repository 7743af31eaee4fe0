# SPDX-License-Identifier: Apache-2.0
"""The module ``signal`` by its C half: numbers in place of enumerations, which take as long to make as a fork does.

The rule: a module that a fence loads takes ``signal`` from here (docs/decisions/0004).
"""

from fencer._typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

__all__ = ("signal",)
