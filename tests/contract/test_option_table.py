# SPDX-License-Identifier: Apache-2.0
"""The table of options: unambiguous in itself, the same words as the domain's types, and the peers' options exactly."""

from collections import Counter

import peer_options
import pytest
from peer_options import PeerOption

from fencer.agent.option import Effect, Origin, ValueKind
from fencer.agent.options import ACTIONS, BY_NAME, OPTIONS
from fencer.model import Action, ArbitrationMode, KeyScheme, Method, Privilege, ProofPolicy


@pytest.mark.parametrize(
    "words",
    [
        [row.letter for row in OPTIONS if row.letter],
        [row.long for row in OPTIONS],
        [name for row in OPTIONS for name in row.names],
    ],
    ids=["letters", "long names", "stdin names"],
)
def test_a_name_belongs_to_one_option(words):
    assert [word for word, count in Counter(words).items() if count > 1] == []


def test_canonical_name_is_the_long_name():
    """So an operator who knows one spelling knows the other."""
    assert [row.name for row in OPTIONS if row.long.replace("-", "_") != row.name] == []


def test_kinds_are_consistent():
    for row in OPTIONS:
        assert bool(row.choices) is (row.kind is ValueKind.SELECT), row.name
        assert bool(row.argument) is (row.kind is not ValueKind.BOOLEAN), row.name
        if row.choices and row.default is not None:
            assert row.default in row.choices, row.name
        if row.kind is ValueKind.BOOLEAN:
            assert row.default in {None, "0", "1"}, row.name


def test_descriptions_are_one_line_without_full_stop():
    for row in OPTIONS:
        assert row.short_description, row.name
        assert "\n" not in row.short_description, row.name
        assert not row.short_description.endswith("."), row.name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("method", list(Method)),
        ("proof", list(ProofPolicy)),
        ("arbitration", list(ArbitrationMode)),
        ("key_value", list(KeyScheme)),
        ("privlvl", [level.name.lower() for level in Privilege]),
    ],
)
def test_choices_are_the_types_words(name, words):
    """The table repeats them: importing the types costs a metadata call more than everything else in it."""
    assert list(BY_NAME[name].choices) == words


def test_actions_are_the_types_words():
    assert set(ACTIONS) == set(Action)


# Explained differences to fence_ipmilan's metadata, by name: what we say instead.
DEFAULTS_THAT_DIFFER = {"power_wait": "0"}  # the state is verified instead of waiting two seconds
PLACEHOLDERS_THAT_DIFFER = {"plug", "port", "verbose_level"}  # [nodename] for [ip]; the peer omits =[level]


@pytest.mark.parametrize("peer", peer_options.kept("fence_ipmilan"), ids=lambda peer: peer.name)
def test_every_option_of_fence_ipmilan_is_ours(peer: PeerOption):
    row = BY_NAME[peer.name]
    assert row.in_metadata
    assert row.kind.value == peer.type
    assert row.default == DEFAULTS_THAT_DIFFER.get(peer.name, peer.default)
    assert row.choices == peer.choices
    assert (f"-{row.letter}", f"--{row.long}")[not row.letter :] == peer.flags
    if peer.name not in PLACEHOLDERS_THAT_DIFFER:
        assert row.synopsis == peer.mixed
    match peer.history.split():
        case ["deprecated"]:
            assert peer.name in row.old_names
        case ["obsoletes", old]:
            assert peer.name == row.name
            assert row.old_names == (old,)
        case _:
            assert peer.name == row.name
            assert row.old_names == ()


# What fence_scsi got after 4.12.1. fence_ipmilan got no option until 4.17.0, and none after it until June 2026.
ADDED_TO_FENCE_SCSI = [  # after 4.17.0
    PeerOption("mpath_register_method", "--mpath-register-method=[multi|single]", "string", "multi", (), ""),
]


@pytest.mark.parametrize("peer", ADDED_TO_FENCE_SCSI, ids=lambda peer: peer.name)
def test_an_option_that_a_newer_fence_scsi_has_is_accepted_as_it_says(peer: PeerOption):
    row = BY_NAME[peer.name]
    assert (row.kind.value, row.default, row.choices) == (peer.type, peer.default, peer.choices)
    assert row.synopsis == peer.mixed
    assert row.in_metadata


@pytest.mark.peer
@pytest.mark.parametrize("peer", ADDED_TO_FENCE_SCSI, ids=lambda peer: peer.name)
def test_an_added_option_is_what_the_installed_fence_scsi_says_where_it_has_it(peer: PeerOption):
    installed = peer_options.read_metadata(peer_options.metadata_of("fence_scsi"))
    assert [option for option in installed if option.name == peer.name] in ([], [peer])


@pytest.mark.parametrize("peer", peer_options.kept("fence_scsi"), ids=lambda peer: peer.name)
def test_every_option_of_fence_scsi_is_accepted(peer: PeerOption):
    row = BY_NAME[peer.name.replace("-", "_")]
    assert f"--{row.long}" in peer.flags
    # -a is fence_ipmilan's --ip; key_value is a string that takes two words there.
    if row.name not in {"aptpl", "key_value", "plug"} and row.origin is Origin.SCSI:
        assert (row.kind.value, row.default) == (peer.type, peer.default)


@pytest.mark.peer
@pytest.mark.parametrize("agent", ["fence_ipmilan", "fence_scsi"])
def test_the_kept_copy_is_what_the_installed_peer_says(agent):
    xml = peer_options.metadata_of(agent)
    installed = peer_options.installed_version()
    if installed != peer_options.PEER_VERSION:
        pytest.skip(f"fence-agents {installed} is installed; the copy is of {peer_options.PEER_VERSION}")
    assert peer_options.read_metadata(xml) == peer_options.kept(agent)


def test_what_has_no_effect_comes_from_a_peer():
    assert [row.name for row in OPTIONS if row.effect is Effect.NONE and row.origin is Origin.OURS] == []
