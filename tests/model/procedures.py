# SPDX-License-Identifier: Apache-2.0
"""What an agent does next: the product's own code, played again from its beginning with the answers that it has got.

Between two of its steps an agent knows nothing but the answers so far. So its state is the list of them, and its next
step is found by running the procedure with them until it asks for one more. Each list is played once: a tree of steps
(``Steps``) keeps what came out.

The product's code runs as it is: Run decides when power may be touched, storage_worker and everything below it do the
rest. Replaced are only what a step stands for: the transport of a nexus, the files, corosync's answer, the session of
the BMC and the command to it. Time stands still, so no deadline passes; an agent whose deadline passes does no more
than one that is killed, which may happen at any step.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

from fencer.agent import storage_worker
from fencer.agent.orders import Go, StorageOrder
from fencer.agent.plan import make_plan
from fencer.agent.request import Caller, Request, StorageRequest, Timing
from fencer.agent.run import Run
from fencer.agent.verdict import is_lost
from fencer.errors import StorageError, TransportError
from fencer.model import (
    Action,
    ArbitrationMode,
    BmcSettings,
    Deadline,
    OtherKeys,
    ProofPolicy,
    ReservationKey,
    ReservationType,
    Secret,
)
from fencer.observations import Arbitrated, ArbitrationResult, LunIsolated, LunRegistered, Observation, SessionOpened
from fencer.storage import arbitration, fenced_record, procedure, restoring, unfencing
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.nexus import Nexus
from fencer.storage.procedure import Opened
from fencer.storage.registration import Terms
from fencer.storage.settings import StorageSettings
from fencer.storage.transport import ScsiReply
from tests.model.step import (
    LOST,
    PERSISTENT_DIR,
    RUN_DIR,
    AskContact,
    AwaitSession,
    Command,
    End,
    Goal,
    Pending,
    PowerOff,
    ReadFile,
    Step,
    WriteFile,
)

STEPS_MOST = 45
"""An agent that has taken so many steps is taken for one whose deadline has passed: it ends."""


class _Suspended(BaseException):
    """The answers are used up. Not an Exception: nothing may handle it."""

    def __init__(self, pending: Pending) -> None:
        super().__init__()
        self.pending = pending


class _Replaced(BaseException):
    """The parent has ended this storage worker."""


class _Over(BaseException):
    """The parent has ended the whole run."""


class _Replay:
    """One playing. answers: in order."""

    def __init__(self, answers: tuple[object, ...]) -> None:
        self._answers = answers
        self._used = 0
        self.outs: list[str] = []

    def ask(self, pending: Pending) -> Any:
        if self._used == len(self._answers):
            raise _Suspended(pending)
        answer = self._answers[self._used]
        self._used += 1
        self.outs.clear()
        return answer


# --- what the product's code is run with ------------------------------------------------------------------------------


class Setting(NamedTuple):
    """What all nodes of a cluster have in common."""

    nodes: int = 2
    luns: int = 1
    policy: ProofPolicy = ProofPolicy.POWER
    type_: ReservationType = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY

    def key(self, node: int) -> ReservationKey:
        return ReservationKey(node + 1)

    def storage(self, node: int) -> StorageSettings:
        others = tuple(self.key(other) for other in range(self.nodes) if other != node)
        names = tuple(f"lun{number}" for number in range(self.luns))
        return StorageSettings(
            names, None, self.key(node), self.type_, aptpl=False, state_dir=RUN_DIR, others=OtherKeys(others)
        )


class _Transport:
    def __init__(self, lun: int) -> None:
        self.name = f"lun{lun}"
        self._lun = lun

    def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
        answer = _replay().ask(Command(self._lun, cdb, data_out))
        if answer == LOST:
            raise TransportError(f"{self.name}: no answer")
        assert isinstance(answer, ScsiReply)
        return answer

    def close(self) -> None:
        pass


def _luns(setting: Setting) -> Opened:
    return Opened(
        tuple(
            LogicalUnit(f"naa.{number}", f"lun{number}", [Nexus(_Transport(number), sleep=_no_sleep)])
            for number in range(setting.luns)
        )
    )


def _no_sleep(_seconds: float) -> None:
    pass


def _stand_still() -> float:
    return 0.0


FOREVER = Deadline(1.0, _stand_still)
_NOTHING_QUEUED = os.eventfd(0)
"""What a worker sends is dealt with at once (_Channel): there is never more to read."""


class _Child:
    """The parent's end of a worker."""

    def __init__(self, power: bool) -> None:
        self.inbox: list[object] = []
        self._power = power

    def send(self, message: object) -> None:
        self.inbox.append(message)
        if self._power and isinstance(message, Go):
            _replay().outs.append("go")
            _replay().ask(PowerOff())
            raise _Over

    def end_within(self, _seconds: float) -> None:
        pass

    def fileno(self) -> int:
        return _NOTHING_QUEUED


class _Children:
    """In place of fencer.worker.Workers."""

    def __init__(self) -> None:
        self.power: _Child | None = None
        self.storage: _Child | None = None

    def need_power(self) -> _Child:
        self.power = self.power or _Child(power=True)
        return self.power

    def need_storage(self) -> _Child:
        self.storage = self.storage or _Child(power=False)
        return self.storage

    def drop_power(self) -> None:
        self.power = None

    def drop_storage(self) -> None:
        self.storage = None


class _Channel:
    """The storage worker's end: what it sends is dealt with by the parent at once."""

    def __init__(self, run: Run, children: _Children, own: _Child) -> None:
        self._run, self._children, self._own = run, children, own

    def send(self, message: object) -> None:
        self._run._from_storage(message)
        if is_lost(self._run._plan, self._run.facts):
            raise _Over
        if self._children.storage is not self._own:
            raise _Replaced

    def receive(self) -> object:
        while not self._own.inbox:
            if self._children.power is None:
                raise _Over  # Run._finished: both workers are done
            _replay().ask(AwaitSession())
            self._run._from_power(SessionOpened())
        return self._own.inbox.pop(0)


def _fence(setting: Setting, goal: Goal) -> ArbitrationResult | None:
    asked = StorageRequest(setting.storage(goal.node), setting.key(goal.victim), ArbitrationMode.REQUIRED)
    bmc = BmcSettings("bmc", 623, b"user", Secret(b"password"))
    timing = Timing(rank_slot_s=0.0)
    request = Request(
        Action.OFF, Caller.CLUSTER, f"node{goal.victim}", False, setting.policy, bmc, asked, timing=timing
    )
    children = _Children()
    run = Run(make_plan(request), FOREVER, children, lambda _several: None)  # type: ignore[arg-type]
    run._start_storage()
    run._start_power()
    try:
        while (own := children.storage) is not None and not is_lost(run._plan, run.facts):
            channel: Any = _Channel(run, children, own)
            order = own.inbox.pop(0)
            assert isinstance(order, StorageOrder)
            try:
                emit = _telling(storage_worker.emitter(channel))
                storage_worker._pursue(order, _luns(setting), emit, storage_worker.questions(channel))
            except _Replaced:
                continue
            except StorageError:
                pass
            break
    except _Over:
        pass
    return run.facts.arbitration.result if run.facts.arbitration is not None else None


def _telling(emit: procedure.Emit) -> procedure.Emit:
    def tell(*several: Observation) -> None:
        for what in several:
            match what:
                case Arbitrated(ArbitrationResult.WON):
                    _replay().outs.append("won")
                case LunIsolated(lun):
                    _replay().outs.append(f"proved {lun[3:]}")
                case LunRegistered(lun):
                    _replay().outs.append(f"registered {lun[3:]}")
                case _:
                    pass
        emit(*several)

    return tell


def _on(setting: Setting, goal: Goal) -> None:
    storage = setting.storage(goal.node)
    terms = Terms.on(storage, setting.key(goal.node))
    unfencing.unfence(
        _luns(setting),
        terms,
        RUN_DIR,
        _telling(lambda *_what: None),
        FOREVER,
        lambda: _replay().ask(AskContact()),
    )


def _restore(setting: Setting, goal: Goal) -> None:
    terms = Terms.on(setting.storage(goal.node), setting.key(goal.node))
    try:
        restoring.restore(_luns(setting).luns[0], terms, RUN_DIR, goal.generation, FOREVER)
    except StorageError:
        return
    _replay().outs.append("restored")


_PROCEDURES: dict[str, Callable[[Setting, Goal], ArbitrationResult | None]] = {
    "fence": _fence,
    "on": _on,
    "restore": _restore,
}

_current: list[_Replay] = []


def _replay() -> _Replay:
    return _current[-1]


def _read_marker(directory: str) -> Any:
    return _replay().ask(ReadFile(directory))


def _write_marker(directory: str, marker: object) -> None:
    _replay().ask(WriteFile(directory, marker))


def _write_record(_directory: str, record: object) -> None:
    _replay().ask(WriteFile("record", record))


def _asking(_deadline: Deadline) -> Callable[[], Any]:
    return lambda: _replay().ask(AskContact())


def _one_after_another(luns: Any, work: Any, emit: Any, at_once: int | None = None) -> None:
    for lun in luns:
        emit(*work(lun))


@contextmanager
def product_in_steps() -> Iterator[None]:
    """Puts what a step stands for in place of files, threads, sleeps and corosync."""
    record_path = SimpleNamespace(lexists=lambda _path: _replay().ask(ReadFile("record")) is not None)
    places: tuple[tuple[object, str, object], ...] = (
        (unfencing, "read_marker", _read_marker),
        (unfencing, "write_marker", _write_marker),
        (unfencing, "alone", lambda *_arguments: nullcontext()),
        (unfencing, "persistent_directory", lambda _directory: PERSISTENT_DIR),
        (restoring, "read_marker", _read_marker),
        (restoring, "write_marker", _write_marker),
        (restoring, "alone", lambda *_arguments: nullcontext()),
        (fenced_record, "read_record", lambda _directory: _replay().ask(ReadFile("record"))),
        (fenced_record, "write_record", _write_record),
        (fenced_record, "_settling", lambda _directory, _record: 0.0),
        (fenced_record, "forget", lambda directory: _write_record(directory, None)),
        (storage_worker, "os", SimpleNamespace(path=record_path)),
        (storage_worker, "_asking", _asking),
        (procedure, "arbitrate", partial(arbitration.arbitrate, sleep=_no_sleep)),
        (procedure, "_side_by_side", _one_after_another),
        (procedure, "start_thread", lambda work, arguments: work(*arguments)),
    )
    with ExitStack() as stack:
        for module, name, what in places:
            stack.enter_context(patch.object(module, name, what))
        yield


class Steps:
    """The tree of steps. A number stands for a goal and the answers so far; 0 for no procedure."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._roots: dict[Goal, int] = {}
        self._next: dict[tuple[int, object], int] = {}
        self._of: list[tuple[Goal, tuple[object, ...], Step] | None] = [None]

    def __len__(self) -> int:
        return len(self._of) - 1

    def begin(self, goal: Goal) -> int:
        """The number of a procedure at its first step."""
        if goal not in self._roots:
            self._roots[goal] = self._play(goal, ())
        return self._roots[goal]

    def after(self, number: int, answer: object) -> int:
        """The number of the same procedure when it has got this answer."""
        key = number, answer
        if key not in self._next:
            known = self._of[number]
            assert known is not None
            goal, answers, _ = known
            self._next[key] = self._play(goal, (*answers, answer))
        return self._next[key]

    def step(self, number: int) -> Step:
        known = self._of[number]
        assert known is not None
        return known[2]

    def goal(self, number: int) -> Goal:
        known = self._of[number]
        assert known is not None
        return known[0]

    def _play(self, goal: Goal, answers: tuple[object, ...]) -> int:
        replay = _Replay(answers)
        pending: Pending
        if len(answers) >= STEPS_MOST:
            pending = End(late=True)
        else:
            _current.append(replay)
            try:
                pending = End(_PROCEDURES[goal.what](self._setting, goal))
            except _Suspended as suspended:
                pending = suspended.pending
            finally:
                _current.pop()
        self._of.append((goal, answers, Step(tuple(replay.outs), pending)))
        return len(self._of) - 1
