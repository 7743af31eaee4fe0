# SPDX-License-Identifier: Apache-2.0
"""The persistent reservation codec: captures, cut and hostile answers, properties."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fencer.errors import FenceError, MalformedAnswer
from fencer.model import ReservationKey, ReservationType
from fencer.storage import pr
from fencer.storage.pr import InAction, OutAction
from fencer.storage.transport import Sense
from tests.fuzz.fuzz_pr import DECODERS as DECODERS_UNDER_FUZZ
from tests.fuzz.fuzz_pr import run
from tests.storage.captures import capture, names

WERO = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
keys = st.integers(1, (1 << 64) - 1).map(ReservationKey)
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
generations = st.integers(0, (1 << 32) - 1)
DECODERS: list[tuple[Callable[[bytes], object], str]] = [
    (pr.decode_keys, "tgtd_read_keys"),
    (pr.decode_reservation, "tgtd_read_reservation"),
    (pr.decode_capabilities, "tgtd_capabilities"),
    (pr.decode_full_status, "lio_read_full_status"),
]


def read_keys(generation: int, *values: int) -> bytes:
    return struct.pack(f">II{len(values)}Q", generation, 8 * len(values), *values)


def reservation(key: int, scope_type: int) -> bytes:
    return struct.pack(">IIQ5xB2x", 3, 16, key, scope_type)


# --- out ----------------------------------------------------------------------------------------------------------


def test_cdbs_are_what_sg_persist_sends() -> None:
    assert pr.in_cdb(InAction.READ_KEYS, 8192).hex(" ") == "5e 00 00 00 00 00 00 20 00 00"
    assert pr.out_cdb(OutAction.PREEMPT_AND_ABORT, WERO, 24).hex(" ") == "5f 05 05 00 00 00 00 00 18 00"
    assert pr.out_cdb(OutAction.REGISTER, None, 24).hex(" ") == "5f 00 00 00 00 00 00 00 18 00"


def test_an_allocation_length_has_16_bits() -> None:
    with pytest.raises(ValueError, match="16 bits"):
        pr.in_cdb(InAction.READ_KEYS, 1 << 16)


def test_a_parameter_list_has_its_fields_where_spc_says() -> None:
    data = pr.parameter_list(ReservationKey(0x1122334455667788), ReservationKey(0xAA))
    assert data.hex() == "1122334455667788" + "00000000000000aa" + "00000000" + "00" + "000000"


@pytest.mark.parametrize(
    ("flags", "byte"), [({"aptpl": True}, 1), ({"all_target_ports": True}, 4), ({"transport_ids": bytes(24)}, 8)]
)
def test_flags_of_a_parameter_list(flags: dict[str, bool], byte: int) -> None:
    assert pr.parameter_list(None, ReservationKey(1), **flags)[20] == byte  # type: ignore[arg-type]


def test_transport_ids_follow_their_length() -> None:
    data = pr.parameter_list(None, ReservationKey(1), transport_ids=b"\x45" + bytes(23))
    assert data[24:] == b"\0\0\0\x18\x45" + bytes(23)


def test_actions_have_the_standards_names() -> None:
    assert str(OutAction.REGISTER_AND_IGNORE_EXISTING_KEY) == "REGISTER AND IGNORE EXISTING KEY"
    assert str(InAction.READ_FULL_STATUS) == "READ FULL STATUS"


# --- captures -----------------------------------------------------------------------------------------------------


def test_keys_of_tgtd() -> None:
    assert pr.decode_keys(capture("tgtd_read_keys")) == pr.RegisteredKeys(
        2, (ReservationKey(0xAA), ReservationKey(0xBB))
    )


def test_reservations_of_tgtd() -> None:
    assert pr.decode_reservation(capture("tgtd_read_reservation")) == pr.Reservation(2, ReservationKey(0xAA), WERO)
    assert pr.decode_reservation(capture("tgtd_no_reservation")) == pr.Reservation(3, None, None)


def test_capabilities_of_tgtd() -> None:
    assert pr.decode_capabilities(capture("tgtd_capabilities")) == pr.Capabilities(
        False, False, False, False, False, 0, frozenset(ReservationType)
    )


def test_capabilities_of_a_target_with_everything() -> None:
    assert pr.decode_capabilities(capture("lio_capabilities")) == pr.Capabilities(
        True, True, True, True, True, 1, frozenset(ReservationType)
    )


@pytest.mark.parametrize(
    ("type_", "mask"), list(zip(ReservationType, ("0200", "0800", "2000", "4000", "8000", "0001"), strict=True))
)
def test_each_bit_of_the_type_mask(type_: ReservationType, mask: str) -> None:
    assert pr.decode_capabilities(bytes.fromhex(f"00080080{mask}0000")).types == frozenset({type_})


def test_without_tmv_the_types_are_unknown() -> None:
    assert pr.decode_capabilities(bytes.fromhex("00080000ea010000")).types is None


def test_full_status() -> None:
    status = pr.decode_full_status(capture("lio_read_full_status"))
    first, second = status.registrations
    assert (status.generation, first.key, first.holder, first.type) == (7, ReservationKey(0xAA), True, WERO)
    assert (first.initiator, first.relative_target_port) == ("iqn.2026-11.x:a,i,0x00023d11111", 1)
    assert (second.key, second.holder, second.type) == (ReservationKey(0xBB), False, None)
    assert (second.initiator, second.all_target_ports, second.relative_target_port) == ("iqn.2026-11.x:b", True, None)


@pytest.mark.parametrize(
    ("transport_id", "name"),
    [
        ("00" * 8 + "2100001122334455" + "00" * 8, "fc.2100001122334455"),
        ("06000000" + "5000c500a1b2c3d4" + "00" * 12, "sas.5000c500a1b2c3d4"),
        ("04" + "00" * 7 + "000102030405060708090a0b0c0d0e0f", "srp.000102030405060708090a0b0c0d0e0f"),
        ("05000014" + b"iqn.x\x1b[2J\xff".hex().ljust(40, "0"), "iqn.x?[2J\\xff"),
        ("050000ff" + b"iqn.x".hex().ljust(40, "0"), "iqn.x"),
        ("05000014" + "00" * 20, None),
        ("c5000014" + "41" * 20, None),
        ("0f" + "00" * 23, None),
        ("45", None),
        ("", None),
    ],
)
def test_transport_ids_in_words(transport_id: str, name: str | None) -> None:
    assert pr.initiator_name(bytes.fromhex(transport_id)) == name


# --- cut and hostile ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("decode", "name"), DECODERS)
def test_a_cut_answer_is_never_decoded_in_part(decode: Callable[[bytes], object], name: str) -> None:
    whole = capture(name)
    decode(whole)
    decode(whole + bytes(100))
    for length in range(len(whole)):
        with pytest.raises(MalformedAnswer):
            decode(whole[:length])


def test_an_answer_says_how_much_to_ask_for() -> None:
    assert pr.answer_length_bytes(InAction.READ_KEYS, read_keys(1, *range(1, 1000))[:8]) == 8 + 8 * 999
    assert pr.answer_length_bytes(InAction.REPORT_CAPABILITIES, b"\0\x08") == 8
    for action, data in ((InAction.READ_KEYS, bytes(7)), (InAction.REPORT_CAPABILITIES, b"\0")):
        with pytest.raises(MalformedAnswer):
            pr.answer_length_bytes(action, data)


@pytest.mark.parametrize("length", [0xFFF8, 0xFFFF_FFFF, 0x8000_0000])
def test_an_answer_larger_than_any_command_can_carry(length: int) -> None:
    with pytest.raises(MalformedAnswer, match="more than an allocation length can ask for"):
        pr.decode_keys(bytes(4) + length.to_bytes(4) + bytes(64))


@pytest.mark.parametrize("length", [1, 7, 9, 15])
def test_keys_come_whole(length: int) -> None:
    with pytest.raises(MalformedAnswer, match="multiple of 8"):
        pr.decode_keys(bytes(4) + length.to_bytes(4) + b"\1" * 64)


def test_key_0_is_no_key() -> None:
    full_status = bytearray(capture("lio_read_full_status"))
    full_status[8:16] = bytes(8)
    for decode, data in (
        (pr.decode_keys, read_keys(1, 5, 0)),
        (pr.decode_reservation, reservation(0, 5)),
        (pr.decode_full_status, bytes(full_status)),
    ):
        with pytest.raises(MalformedAnswer, match="key 0"):
            decode(data)


@pytest.mark.parametrize("type_", [7, 8])
@pytest.mark.parametrize("key", [0, 0xAA])
def test_all_registrants_have_no_single_holder(type_: int, key: int) -> None:
    assert pr.decode_reservation(reservation(key, type_)).holder is None


@pytest.mark.parametrize("scope_type", [0x00, 0x02, 0x04, 0x09, 0x0F, 0x15, 0x25, 0xF5])
def test_an_unknown_type_or_scope_is_malformed(scope_type: int) -> None:
    full_status = bytearray(capture("lio_read_full_status"))
    full_status[21] = scope_type
    for decode, data in (
        (pr.decode_reservation, reservation(1, scope_type)),
        (pr.decode_full_status, bytes(full_status)),
    ):
        with pytest.raises(MalformedAnswer, match=r"scope|type"):
            decode(data)


@pytest.mark.parametrize("length", [1, 8, 15, 17, 32])
def test_a_reservation_has_16_bytes(length: int) -> None:
    with pytest.raises(MalformedAnswer, match="neither 0 nor 16"):
        pr.decode_reservation(bytes(4) + length.to_bytes(4) + b"\1" * length)


@pytest.mark.parametrize("length", [0x25, 0xFFFF_FFFF, 0x8000_0000])
def test_a_transport_id_that_runs_past_the_end(length: int) -> None:
    data = bytearray(capture("lio_read_full_status"))
    data[68 + 20 : 68 + 24] = length.to_bytes(4)
    with pytest.raises(MalformedAnswer):
        pr.decode_full_status(bytes(data))


def test_capabilities_that_are_too_short() -> None:
    with pytest.raises(MalformedAnswer):
        pr.decode_capabilities(bytes.fromhex("0004 1d91 ea01 0000"))


# --- properties ---------------------------------------------------------------------------------------------------


@unhurried
@given(generations, st.lists(keys, max_size=64), st.binary(max_size=16))
def test_no_key_is_ever_lost(generation: int, registered: list[ReservationKey], padding: bytes) -> None:
    data = read_keys(generation, *(key.value for key in registered))
    assert pr.decode_keys(data + padding) == pr.RegisteredKeys(generation, tuple(registered))


@unhurried
@given(keys, st.sampled_from(list(ReservationType)))
def test_a_reservation_survives_the_round_trip(key: ReservationKey, type_: ReservationType) -> None:
    held = pr.decode_reservation(reservation(key.value, type_))
    assert held.type is type_
    assert held.holder == (None if type_ in pr.ALL_REGISTRANTS_TYPES else key)


@unhurried
@given(st.none() | keys, st.none() | keys, st.booleans(), st.booleans())
def test_a_parameter_list_reads_back(
    key: ReservationKey | None, service_key: ReservationKey | None, aptpl: bool, all_target_ports: bool
) -> None:
    data = pr.parameter_list(key, service_key, aptpl=aptpl, all_target_ports=all_target_ports)
    assert struct.unpack(">QQ4xB3x", data) == (
        key.value if key else 0,
        service_key.value if service_key else 0,
        4 * all_target_ports + aptpl,
    )


@pytest.mark.parametrize(("decode", "name"), DECODERS)
@unhurried
@given(data=st.data())
def test_whatever_comes_in_only_our_errors_come_out(
    decode: Callable[[bytes], object], name: str, data: st.DataObject
) -> None:
    mutated = bytearray(capture(name))
    for position in data.draw(st.lists(st.integers(0, len(mutated) - 1), max_size=6)):
        mutated[position] = data.draw(st.integers(0, 255))
    for hostile in (bytes(mutated), data.draw(st.binary(max_size=128))):
        try:
            decode(hostile)
        except FenceError as error:
            assert isinstance(error, MalformedAnswer)


# --- sense --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "sense"),
    [
        ("70 00 06 00 00 00 00 0a 00 00 00 00 2a 05 00 00 00 00", Sense(6, 0x2A, 0x05)),
        ("f1 00 05 00 00 00 00 0a 00 00 00 00 24 00", Sense(5, 0x24, 0x00)),
        ("70 00 25 00 00 00 00 06 00 00 00 00 20 00", Sense(5, 0x20, 0x00)),  # ILI is no part of the key
        ("72 06 29 00 00 00 00 00", Sense(6, 0x29, 0x00)),
        ("73 0b 47 03", Sense(0xB, 0x47, 0x03)),
        ("70 00 06", Sense(6, 0, 0)),
        ("70 00 06 00 00 00 00 00 00 00 00 00 2a 05", Sense(6, 0, 0)),  # the additional length says: not there
        ("70 00 06 00 00 00 00 0a 00 00 00 00 2a", Sense(6, 0x2A, 0)),
        ("72 06", Sense(6, 0, 0)),
        ("72 06 2a", Sense(6, 0x2A, 0)),
        ("", None),
        ("70", None),
        ("70 00", None),
        ("72", None),
        ("00 00 00 00 00 00 00 00", None),
        ("7f 06 29 00", None),
    ],
)
def test_sense_data(data: str, sense: Sense | None) -> None:
    assert pr.decode_sense(bytes.fromhex(data)) == sense


@unhurried
@given(st.binary(max_size=64))
def test_sense_data_never_raise(data: bytes) -> None:
    pr.decode_sense(data)


def test_what_sense_means() -> None:
    for unsupported in (Sense(5, 0x20, 0), Sense(5, 0x24, 0), Sense(5, 0x26, 0), Sense(5, 0x26, 2)):
        assert pr.is_unsupported(unsupported)
    for other in (pr.INVALID_RELEASE, Sense(5, 0x25, 0), Sense(5, 0x55, 4), Sense(6, 0x24, 0), None):
        assert not pr.is_unsupported(other)
    assert pr.says_preempted(Sense(6, 0x2A, 3))
    assert pr.says_preempted(Sense(6, 0x2A, 5))
    assert not pr.says_preempted(Sense(6, 0x2A, 4))
    assert not pr.says_preempted(None)
    assert pr.is_reset(Sense(6, 0x29, 7))
    assert not pr.is_reset(Sense(6, 0x2A, 3))
    assert pr.is_unit_attention(Sense(6, 0x3F, 0x0E))
    assert not pr.is_unit_attention(Sense(5, 0x24, 0))


def test_sense_in_words() -> None:
    assert pr.describe_sense(Sense(6, 0x2A, 5)) == "registrations preempted (6/2A05)"
    assert pr.describe_sense(Sense(6, 0x29, 7)) == "reset occurred (6/2907)"
    assert pr.describe_sense(Sense(4, 0x44, 0)) == "sense 4/4400"


@pytest.mark.parametrize("name", sorted(DECODERS_UNDER_FUZZ))
def test_the_fuzz_harness_takes_the_captures(name: str) -> None:
    for seed in names():
        run(DECODERS_UNDER_FUZZ[name], capture(seed))
