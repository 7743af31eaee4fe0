# SPDX-License-Identifier: Apache-2.0
"""A start that fails for want of processes, threads, memory or descriptors is repeated; any other failure is not."""

import errno
import math
import time

import pytest

from fencer import shortage
from fencer.shortage import SHORTAGES, start_despite_shortage

SHORT = [*(OSError(number, "short") for number in sorted(SHORTAGES)), RuntimeError("can't start new thread")]
OTHERS = [FileNotFoundError(errno.ENOENT, "absent"), PermissionError(errno.EACCES, "refused"), ValueError("other")]


class Start:
    """Fails so many times, then gives "started"."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.left, self.calls = error, times, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error
        return "started"


@pytest.mark.parametrize("error", SHORT, ids=repr)
def test_a_shortage_is_outlasted(error: Exception) -> None:
    start = Start(error, 2)
    assert start_despite_shortage(start) == "started"
    assert start.calls == 3


@pytest.mark.parametrize("error", SHORT, ids=repr)
@pytest.mark.parametrize(("patience_s", "own_s"), [(0.12, math.inf), (60, 0.12)], ids=["of all", "of the caller"])
def test_a_shortage_that_lasts_is_raised(
    error: Exception, patience_s: float, own_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortage, "PATIENCE_S", patience_s)
    start = Start(error, 1_000)
    with pytest.raises(type(error)):
        start_despite_shortage(start, time.monotonic() + own_s)
    assert 2 <= start.calls < 1_000


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_any_other_failure_is_raised_at_once(error: Exception) -> None:
    start = Start(error, 1)
    with pytest.raises(type(error)):
        start_despite_shortage(start)
    assert start.calls == 1


def test_past_its_moment_it_is_called_once() -> None:
    start = Start(OSError(errno.EAGAIN, "short"), 1)
    with pytest.raises(OSError, match="short"):
        start_despite_shortage(start, time.monotonic() - 1)
    assert start.calls == 1
