# SPDX-License-Identifier: Apache-2.0
"""libiscsi against a real tgtd; and the fake target against the same tgtd."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fencer.errors import CommandFailed, StorageError, TransportError, UsageError
from fencer.model import Deadline, ReservationKey, ReservationType
from fencer.storage.inquiry import DISK
from fencer.storage.isolation import TGTD
from fencer.storage.libiscsi import IscsiTransport, IscsiUrl
from fencer.storage.nexus import Nexus, Outcome
from fencer.storage.pr import RESERVATIONS_PREEMPTED, InAction, OutAction, says_preempted
from fencer.storage.transport import ScsiStatus, ScsiTransport
from tests.rig import free_port, require_library
from tests.rig.target import Target
from tests.storage.fake_target import FakeTarget

A, B, C = ReservationKey(0xAA), ReservationKey(0xBB), ReservationKey(0xCC)
WERO = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
ISIDS = {"a": 0xA, "b": 0xB, "c": 0xC}
WRITE_ONE_BLOCK = bytes((0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0))

# --- URLs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("iscsi://10.0.0.1/iqn.2026-11.org.example:disk/1", ("10.0.0.1", 3260, "iqn.2026-11.org.example:disk", 1)),
        ("iscsi://san:3261/iqn.x:y/0", ("san", 3261, "iqn.x:y", 0)),
        ("iscsi://[fd00::1]:3261/eui.02004567A425678D/255", ("fd00::1", 3261, "eui.02004567A425678D", 255)),
        ("iscsi://[::1]/naa.52004567BA64678D/7", ("::1", 3260, "naa.52004567BA64678D", 7)),
        ("iscsi://[fe80::1%eth0]/iqn.x/1", ("fe80::1%eth0", 3260, "iqn.x", 1)),
    ],
)
def test_a_url_is_read(text: str, url: tuple[str, int, str, int]) -> None:
    assert IscsiUrl.parse(text) == IscsiUrl(*url)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/dev/sda",
        "iscsi://host",
        "iscsi://host/iqn.x",
        "iscsi://host/iqn.x/",
        "iscsi://host/iqn.x/-1",
        "iscsi://host/iqn.x/256",
        "iscsi://host:0/iqn.x/1",
        "iscsi://host:65536/iqn.x/1",
        "iscsi://::1/iqn.x/1",
        "iscsi://[nonsense]/iqn.x/1",
        "iscsi://[::1/iqn.x/1",
        "iscsi://[::1]x/iqn.x/1",
        "iscsi://[::1]:/iqn.x/1",
        "iscsi://[]/iqn.x/1",
        "iscsi://[fe80::1%]/iqn.x/1",
        "iscsi://[10.0.0.1]/iqn.x/1",
        "iscsi:///iqn.x/1",
        "iscsi://host:/iqn.x/1",
        "iscsi://host:000080/iqn.x/1",
        "iscsi://host/iqn.x/\u0661",
        "iscsi://host/iqn./1",
        "iscsi://host/x.iqn.y/1",
        "iscsi://host//1",
        "iscsi://h]st/iqn.x/1",
        "iscsi://[fe80::1%2]/iqn.x/1/2",
        "iscsi://user%secret@host/iqn.x/1",
        "iscsi://host/disk/1",
        "iscsi://host/iqn.x/1\n",
    ],
)
def test_a_wrong_url_names_the_option(text: str) -> None:
    with pytest.raises(UsageError, match=r"^devices: .*give "):
        IscsiUrl.parse(text)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(st.text(max_size=60).map(lambda tail: "iscsi://" + tail))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        url = IscsiUrl.parse(text)
    except UsageError:
        return
    assert IscsiUrl.parse(str(url)) == url


# --- a real target ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _libiscsi_installed() -> None:
    require_library("libiscsi7", "libiscsi.so.7")


@pytest.fixture(scope="module")
def shared_target() -> Iterator[Target]:
    with Target(luns=2) as target:
        yield target


@pytest.fixture
def target() -> Iterator[Target]:
    """For tests that stop or kill it."""
    with Target() as target:
        yield target


@pytest.fixture
def login() -> Iterator[Callable[..., IscsiTransport]]:
    opened: list[IscsiTransport] = []

    def log_in(target: Target, initiator: str, lun: int = 1) -> IscsiTransport:
        transport = IscsiTransport(
            IscsiUrl.parse(target.url(lun)),
            initiator=f"iqn.2026-11.test:{initiator}",
            isid=ISIDS[initiator],
            deadline=soon(),
        )
        opened.append(transport)
        return transport

    yield log_in
    for transport in opened:
        transport.close()


@pytest.fixture
def nodes(shared_target: Target, login: Callable[..., IscsiTransport]) -> Iterator[tuple[Nexus, Nexus]]:
    """Two nexuses to an empty LUN."""
    transports = login(shared_target, "a"), login(shared_target, "b")
    yield Nexus(transports[0]), Nexus(transports[1])
    for transport in transports:
        transport.close()
    cleaner = Nexus(login(shared_target, "c"))
    assert cleaner.register_and_ignore(C, False, soon()) is Outcome.DONE
    assert cleaner.clear(C, soon()) is Outcome.DONE


def soon() -> Deadline:
    return Deadline.after(60)


def test_tgtd_is_known_by_its_inquiry_data(nodes: tuple[Nexus, Nexus]) -> None:
    found = nodes[0].standard_inquiry(soon())
    assert (found.vendor, found.product) == TGTD


def write(transport: ScsiTransport) -> ScsiStatus:
    """Through unit attentions."""
    for _ in range(5):
        reply = transport.execute(WRITE_ONE_BLOCK, data_out=bytes(512), timeout_s=5)
        if reply.status is not ScsiStatus.CHECK_CONDITION:
            break
    return reply.status


def test_a_lun_says_what_it_is(nodes: tuple[Nexus, Nexus]) -> None:
    a, _ = nodes
    assert a.wwid(soon()) == "naa.60000000000000000e00000000010001"
    assert a.device_type(soon()) == DISK


def test_what_tgtd_lacks_is_seen(nodes: tuple[Nexus, Nexus]) -> None:
    a, _ = nodes
    capabilities = a.report_capabilities(soon())
    assert capabilities is not None
    assert not capabilities.ptpl_capable
    assert capabilities.types == frozenset(ReservationType)
    assert a.read_full_status(soon()) is None
    assert a.supports(OutAction.PREEMPT_AND_ABORT, soon()) is None  # it claims everything, so it tells nothing
    assert a.register(None, A, True, soon()) is Outcome.UNSUPPORTED
    assert a.read_keys(soon()).keys == ()


def test_a_fenced_node_writes_no_more(
    nodes: tuple[Nexus, Nexus], shared_target: Target, login: Callable[..., IscsiTransport]
) -> None:
    a, b = nodes
    a.register(None, A, False, soon())
    transport_b = b._transport
    b.register(None, B, False, soon())
    assert a.reserve(A, WERO, soon()) is Outcome.DONE
    assert b.reserve(B, WERO, soon()) is Outcome.CONFLICT
    assert write(transport_b) is ScsiStatus.GOOD
    assert a.preempt_and_abort(A, B, WERO, soon()) is Outcome.UNSUPPORTED
    assert a.preempt(A, B, WERO, soon()) is Outcome.DONE
    assert b.preempt(B, A, WERO, soon()) is Outcome.CHANGED
    assert b.unit_attentions[-1] == RESERVATIONS_PREEMPTED
    assert b.preempt(B, A, WERO, soon()) is Outcome.CONFLICT
    assert write(transport_b) is ScsiStatus.RESERVATION_CONFLICT
    assert a.read_keys(soon()).keys == (A,)
    assert a.read_reservation(soon()).holder == A


def test_two_luns_of_one_target_are_two_sessions(shared_target: Target, login: Callable[..., IscsiTransport]) -> None:
    first, second = Nexus(login(shared_target, "a", 1)), Nexus(login(shared_target, "a", 2))
    assert first.wwid(soon()) != second.wwid(soon())
    assert first.read_keys(soon()).keys == second.read_keys(soon()).keys == ()


def test_of_two_that_preempt_each_other_one_survives(nodes: tuple[Nexus, Nexus]) -> None:
    a, b = nodes
    for _ in range(25):
        for nexus in (a, b):
            nexus.read_keys(soon())  # takes the last round's unit attention
        assert a.register_and_ignore(A, False, soon()) is Outcome.DONE
        assert b.register_and_ignore(B, False, soon()) is Outcome.DONE
        winners = _race((a, A, B), (b, B, A))
        assert len(winners) == 1
        for nexus in (a, b):
            assert nexus.read_keys(soon()).keys == winners


def _race(*duellists: tuple[Nexus, ReservationKey, ReservationKey]) -> tuple[ReservationKey, ...]:
    """Everybody preempts the other at once; the keys of those to whom the target said yes."""
    start = threading.Barrier(len(duellists))
    winners: list[ReservationKey] = []

    def shoot(nexus: Nexus, own: ReservationKey, other: ReservationKey) -> None:
        start.wait()
        if nexus.preempt(own, other, WERO, soon()) is Outcome.DONE:
            winners.append(own)

    shots = [threading.Thread(target=shoot, args=duellist) for duellist in duellists]
    for shot in shots:
        shot.start()
    for shot in shots:
        shot.join()
    return tuple(winners)


def test_more_keys_than_one_buffer_are_all_read(
    shared_target: Target, login: Callable[..., IscsiTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fencer.storage.nexus._FIRST_ALLOCATION_LENGTH_BYTES", 16)
    nexuses = [Nexus(login(shared_target, name, 2)) for name in ISIDS]
    for nexus, key in zip(nexuses, (A, B, C), strict=True):
        assert nexus.register(None, key, False, soon()) is Outcome.DONE
    assert nexuses[0].read_keys(soon()).keys == (A, B, C)
    assert nexuses[0].clear(A, soon()) is Outcome.DONE


def test_a_silent_target_is_left_at_the_deadline(target: Target, login: Callable[..., IscsiTransport]) -> None:
    transport = login(target, "a")
    nexus = Nexus(transport)
    nexus.read_keys(soon())
    target.stop()
    started = time.monotonic()
    with pytest.raises(TransportError, match="no answer in time"):
        nexus.register(None, A, False, Deadline.after(0.2))
    assert time.monotonic() - started < 20
    target.resume()
    with pytest.raises(TransportError, match="closed"):
        nexus.read_keys(soon())


def test_a_silent_target_does_not_hold_up_a_login(target: Target) -> None:
    target.stop()
    with pytest.raises(TransportError, match="login: no answer in time"):
        IscsiTransport(IscsiUrl.parse(target.url()), initiator="iqn.x:a", isid=1, deadline=Deadline.after(0.2))


def test_a_killed_target_is_no_answer(target: Target, login: Callable[..., IscsiTransport]) -> None:
    nexus = Nexus(login(target, "a"))
    nexus.read_keys(soon())
    target.kill()
    with pytest.raises(TransportError):
        nexus.read_keys(soon())
    with pytest.raises(TransportError, match="connect: Connection refused"):
        login(target, "a")


def test_a_restarted_target_has_lost_every_registration(target: Target, login: Callable[..., IscsiTransport]) -> None:
    assert Nexus(login(target, "a")).register(None, A, False, soon()) is Outcome.DONE
    target.restart()
    assert Nexus(login(target, "a")).read_keys(soon()).keys == ()


def test_an_unknown_target_lun_or_host_is_named(shared_target: Target, login: Callable[..., IscsiTransport]) -> None:
    with pytest.raises(CommandFailed, match=r"/99: READ KEYS: logical unit not supported"):
        Nexus(login(shared_target, "a", 99)).read_keys(soon())
    for url, reason in (
        (f"iscsi://{shared_target.portal}/iqn.x:missing/1", "login: .*not found"),
        (f"iscsi://127.0.0.1:{free_port()}/iqn.x:disk/1", "connect: Connection refused"),
        ("iscsi://no-such-host.invalid/iqn.x:disk/1", "resolve no-such-host.invalid"),
    ):
        with pytest.raises(TransportError, match=reason):
            IscsiTransport(IscsiUrl.parse(url), initiator="iqn.x:a", isid=1, deadline=soon())


def test_a_peer_that_is_no_target_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(512)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(range(256)))

        threading.Thread(target=babble, daemon=True).start()
        url = IscsiUrl.parse(f"iscsi://127.0.0.1:{server.getsockname()[1]}/iqn.x:disk/1")
        with pytest.raises(TransportError):
            IscsiTransport(url, initiator="iqn.x:a", isid=1, deadline=Deadline.after(0.5))


def test_close_is_bounded_and_can_be_repeated(target: Target, login: Callable[..., IscsiTransport]) -> None:
    transport = login(target, "a")
    target.stop()
    started = time.monotonic()
    transport.close()
    transport.close()
    assert time.monotonic() - started < 20


# --- the fake does what the real one does ---------------------------------------------------------------------------

Step = tuple[str, Callable[[dict[str, Nexus]], object]]


def _scenario() -> list[Step]:
    """Names and calls; the answers of both targets are compared one by one."""
    d = soon
    types = list(ReservationType)
    steps: list[Step] = [
        ("first contact", lambda n: [n[i].read_keys(d()) for i in "abc"]),
        ("conflict before registering", lambda n: n["a"].reserve(A, WERO, d())),
        ("register wrong old key", lambda n: n["a"].register(B, A, False, d())),
        ("register a", lambda n: n["a"].register(None, A, False, d())),
        ("register a again as if new", lambda n: n["a"].register(None, A, False, d())),
        ("change key", lambda n: n["a"].register(A, C, False, d())),
        ("ignore existing", lambda n: n["a"].register_and_ignore(A, False, d())),
        ("aptpl", lambda n: n["a"].register_and_ignore(A, True, d())),
        ("register b", lambda n: n["b"].register_and_ignore(B, False, d())),
        ("register c", lambda n: n["c"].register(None, C, False, d())),
        ("full status", lambda n: n["a"].read_full_status(d())),
        ("capabilities", lambda n: n["a"].report_capabilities(d())),
        ("supports", lambda n: n["a"].supports(OutAction.PREEMPT, d())),
        ("supports in", lambda n: n["a"].supports(InAction.READ_FULL_STATUS, d())),
    ]
    for held, other in zip(types, types[-1:] + types[:-1], strict=True):
        reserve, reserve_other = partial(_reserve, type_=held), partial(_reserve, type_=other)
        steps += [
            (f"reserve {held.name}", reserve),
            ("reserve again", reserve),
            ("reserve another type", reserve_other),
            ("read it", lambda n: n["c"].read_reservation(d())),
            ("others write", lambda n: [write(n[i]._transport) for i in "abc"]),
            ("release wrong type", partial(_release, type_=other)),
            ("release", partial(_release, type_=held)),
            ("everybody hears", lambda n: [n[i].read_keys(d()) for i in "abc"]),
        ]
    steps += [
        ("reserve", lambda n: n["a"].reserve(A, WERO, d())),
        ("release by another", lambda n: n["b"].release(B, WERO, d())),
        ("preempt and abort", lambda n: n["b"].preempt_and_abort(B, A, WERO, d())),
        ("preempt nobody", lambda n: n["b"].preempt(B, ReservationKey(0xDEAD), WERO, d())),
        ("preempt under a wrong key", lambda n: n["b"].preempt(C, A, WERO, d())),
        ("preempt a bystander", lambda n: n["b"].preempt(B, C, WERO, d())),
        ("the bystander strikes back", lambda n: n["c"].preempt(C, B, WERO, d())),
        ("and again", lambda n: n["c"].preempt(C, B, WERO, d())),
        ("the bystander writes", lambda n: write(n["c"]._transport)),
        ("preempt the holder", lambda n: n["b"].preempt(B, A, WERO, d())),
        ("read", lambda n: (n["b"].read_keys(d()), n["b"].read_reservation(d()))),
        ("the old holder writes", lambda n: [write(n["a"]._transport) for _ in range(2)]),
        ("the old holder unregisters", lambda n: n["a"].register(A, None, False, d())),
        ("the old holder comes back", lambda n: n["a"].register(None, A, False, d())),
        ("the holder unregisters", lambda n: n["b"].register(B, None, False, d())),
        ("read again", lambda n: (n["a"].read_keys(d()), n["a"].read_reservation(d()))),
        ("clear", lambda n: n["a"].clear(A, d())),
        ("all gone", lambda n: [(n[i].read_keys(d()), n[i].read_reservation(d())) for i in "abc"]),
        # Not 2A/04: tgtd sends it where SPC-4 does not (WRITE EXCLUSIVE released) and not where SPC-4 does.
        ("preempted", lambda n: [[s for s in n[i].unit_attentions if says_preempted(s)] for i in "abc"]),
    ]
    return steps


def _reserve(nexuses: dict[str, Nexus], type_: ReservationType) -> Outcome:
    return nexuses["a"].reserve(A, type_, soon())


def _release(nexuses: dict[str, Nexus], type_: ReservationType) -> Outcome:
    return nexuses["a"].release(A, type_, soon())


def _play(nexuses: dict[str, Nexus]) -> list[tuple[str, object]]:
    played: list[tuple[str, object]] = []
    for name, act in _scenario():
        try:
            answer = act(nexuses)
        except StorageError as error:
            answer = type(error), str(error).split(": ", 1)[1]
        played.append((name, answer))
    return played


def test_the_fake_answers_as_tgtd_does(target: Target, login: Callable[..., IscsiTransport]) -> None:
    fake = FakeTarget(
        preempt_and_abort=False,
        full_status=False,
        aptpl=False,
        opcodes_blind=True,
        compatible_reservation_handling=False,
        holder_leaves_steps=2,
        preempted=RESERVATIONS_PREEMPTED,
    )
    of_fake = _play({i: Nexus(fake.nexus(i)) for i in "abc"})
    of_tgtd = _play({i: Nexus(login(target, i)) for i in "abc"})
    assert of_fake == of_tgtd
