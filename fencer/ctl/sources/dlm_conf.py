# SPDX-License-Identifier: Apache-2.0
"""dlm.conf with its lines. Pure. Source: dlm.conf(5), dlm_controld/config.c, fence_config.c."""

from collections.abc import Iterator, Mapping
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


class Misplaced(NamedTuple):
    """A line that dlm_controld does not read as it is meant. text: why; remedy: an imperative."""

    line: int
    text: str
    remedy: str


class DlmConf(NamedTuple):
    """settings: ``name=value`` lines with their line. unfence: devices whose nodes are unfenced. fence_all: a device
    for every node, by ``fence_all`` lines. misplaced: what dlm_controld drops without a word."""

    settings: Mapping[str, tuple[str, int]]
    devices: tuple[DlmDevice, ...]
    connects: tuple[DlmConnect, ...]
    unfence: Mapping[str, int]
    fence_all: tuple[DlmDevice, ...]
    misplaced: tuple[Misplaced, ...]


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
            case _ if "=" in raw and raw[0].isspace():
                continue  # dlm_controld takes the blank for the end of the name (set_opt_file)
            case _ if "=" in raw:
                name, _, value = raw.partition("=")
                settings[name.strip()] = (value.strip(), number)
            case _:
                raise UsageError(
                    f"dlm_conf: {source} line {number}: {words[0][:40]} is no word of dlm.conf: correct the line"
                )
    misplaced = tuple(_misplaced(text, {device.name for device in devices}))
    return DlmConf(settings, tuple(devices), tuple(connects), unfence, tuple(fence_all), misplaced)


def _misplaced(text: str, names: set[str]) -> Iterator[Misplaced]:
    """The lines that are in no section, or in the wrong one.

    A section is a ``device`` line and the ``connect`` and ``unfence`` lines of that device. It ends at an empty line or
    one that begins with a blank; any other line in it makes dlm_controld drop the device (read_config_section).
    """
    section = ""
    for number, raw in enumerate(text.split("\n"), start=1):
        word, _, rest = raw.strip().partition(" ")
        name = rest.strip().partition(" ")[0]
        if raw[:1].strip() == "":
            if word in ("device", "connect", "unfence"):
                reason = f"{word} {name}: dlm_controld does not read a line that begins with a blank"
                yield Misplaced(number, reason, "begin it in the first column")
            section = ""
        elif word == "device":
            if section:
                reason = f"device {name} follows device {section} without an empty line: dlm_controld drops both"
                yield Misplaced(number, reason, "put an empty line before it")
            section = name
        elif word in ("connect", "unfence"):
            if name in names and name != section:
                where = f"in the section of device {section}" if section else "in no section"
                reason = f"{word} {name} stands {where}: dlm_controld does not take it for device {name}"
                yield Misplaced(
                    number, reason, f"put it below the line of device {name}, without an empty line between"
                )
        elif section and not word.startswith("#"):
            reason = f"{word[:40]} stands in the section of device {section}: dlm_controld drops the device"
            yield Misplaced(number, reason, "put an empty line before it")


def _arguments(words: list[str]) -> Mapping[str, str]:
    pairs = (word.partition("=") for word in words)
    return {name: value for name, equals, value in pairs if equals}
