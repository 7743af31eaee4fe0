# SPDX-License-Identifier: Apache-2.0
"""dlm.conf with its lines. Pure. Source: dlm.conf(5), dlm_controld/config.c, fence_config.c."""

from collections.abc import Mapping
from typing import NamedTuple

from fencer.errors import UsageError


class DlmDevice(NamedTuple):
    """A ``device`` line. arguments: what each call of the agent gets, in order."""

    name: str
    agent: str
    arguments: Mapping[str, str]
    line: int


class DlmConnect(NamedTuple):
    """A ``connect`` line: by which device a node is fenced."""

    device: str
    node_id: str
    arguments: Mapping[str, str]
    line: int


class DlmConf(NamedTuple):
    """settings: ``name=value`` lines with their line. unfence: devices whose nodes are unfenced. fence_all: a device
    for every node, by ``fence_all`` lines."""

    settings: Mapping[str, tuple[str, int]]
    devices: tuple[DlmDevice, ...]
    connects: tuple[DlmConnect, ...]
    unfence: Mapping[str, int]
    fence_all: tuple[DlmDevice, ...]


def parse_dlm_conf(text: str, source: str) -> DlmConf:
    """Raises UsageError that names the line where the text is not a dlm.conf."""
    settings: dict[str, tuple[str, int]] = {}
    devices: list[DlmDevice] = []
    connects: list[DlmConnect] = []
    fence_all: list[DlmDevice] = []
    unfence: dict[str, int] = {}
    for number, raw in enumerate(text.split("\n"), start=1):
        words = raw.strip().split()
        match words:
            case [] | ["#", *_]:
                continue
            case [first, *_] if first.startswith("#"):
                continue
            case ["device", name, agent, *rest]:
                devices.append(DlmDevice(name, agent.rpartition("/")[2], _arguments(rest), number))
            case ["connect", name, *rest]:
                arguments = dict(_arguments(rest))
                connects.append(DlmConnect(name, arguments.pop("node", ""), arguments, number))
            case ["unfence", name]:
                unfence[name] = number
            case ["fence_all", agent, *rest]:
                fence_all.append(DlmDevice("fence_all", agent.rpartition("/")[2], _arguments(rest), number))
            case ["unfence_all"]:
                unfence["fence_all"] = number
            case ["lockspace" | "master", *_]:
                continue
            case _ if "=" in raw:
                name, _, value = raw.partition("=")
                settings[name.strip()] = (value.strip(), number)
            case _:
                raise UsageError(
                    f"dlm_conf: {source} line {number}: {words[0][:40]} is no word of dlm.conf: correct the line"
                )
    return DlmConf(settings, tuple(devices), tuple(connects), unfence, tuple(fence_all))


def _arguments(words: list[str]) -> Mapping[str, str]:
    pairs = (word.partition("=") for word in words)
    return {name: value for name, equals, value in pairs if equals}
