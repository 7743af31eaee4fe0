# SPDX-License-Identifier: Apache-2.0
"""What a thread is doing: it waits for a disk, for the interpreter's lock, or for the processor."""

import os
import threading
import time
from collections.abc import Callable

from fencer.sidecar.observer.thread_states import waits_for_processor

WAIT_S = 60.0


def _thread(job: Callable[[], object]) -> int:
    began = threading.Event()
    thread = threading.Thread(target=lambda: (began.set(), job()), daemon=True)
    thread.start()
    assert began.wait(WAIT_S)
    assert thread.native_id is not None
    return thread.native_id


def _comes_true(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + WAIT_S
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def test_a_thread_that_waits_in_a_read_hangs() -> None:
    read, write = os.pipe()
    thread = _thread(lambda: os.read(read, 1))
    assert _comes_true(lambda: not waits_for_processor(thread))
    os.write(write, b"x")
    os.close(write)


def test_a_thread_that_waits_for_a_lock_or_computes_does_not() -> None:
    lock, ended = threading.Lock(), threading.Event()
    with lock:
        waiting = _thread(lock.acquire)
        assert _comes_true(lambda: waits_for_processor(waiting))

    def compute() -> None:
        while not ended.is_set():
            pass

    computing = _thread(compute)
    assert all(waits_for_processor(computing) for _ in range(20))
    ended.set()


def test_of_a_thread_that_has_ended_nothing_is_known() -> None:
    assert not waits_for_processor(0x7FFFFFFE)
