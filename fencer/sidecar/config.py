# SPDX-License-Identifier: Apache-2.0
"""Reads watchdogd.toml by one table of settings into typed settings. Pure but for ``read``.

The same table makes the documentation. Every complaint names file, line, setting and remedy; one reading makes all.
"""

import re
from collections.abc import Mapping

from fencer._typing import Any, NamedTuple
from fencer.errors import UsageError
from fencer.model import ReservationKey
from fencer.regular_file import read_regular_file
from fencer.sidecar import watchdog_device
from fencer.sidecar.settings import GRACE_S, RELOADABLE, Requirement, SelfFenceBy, Settings, TargetReset


class Setting(NamedTuple):
    """One row. kind: the TOML type; choices, or low and high, bound it."""

    name: str
    kind: type
    default: Any
    means: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0

    @property
    def reload(self) -> bool:
        """SIGHUP may change it."""
        return self.name in RELOADABLE

    @property
    def remedy(self) -> str:
        """The remedy: what a valid value is."""
        if self.choices:
            return "give " + _or([f'"{choice}"' for choice in self.choices])
        if self.kind is bool:
            return "give true or false"
        if self.kind is tuple:
            return 'give a list of names in quotes, as ["/dev/sdb"]'
        if self.kind is str:
            return "give a text in quotes"
        unit = "whole seconds" if self.kind is int else "seconds"
        return f"give {unit} from {self.low:g} to {self.high:g}"


SETTINGS = (
    Setting("vg", str, "", "The volume group whose physical volumes are the shared LUNs. This or `devices`."),
    Setting(
        "devices", tuple, (), "The shared LUNs by WWID, or by a link /dev/disk/by-id/wwn-... or scsi-... This or `vg`."
    ),
    Setting(
        "require",
        str,
        Requirement.ALL.value,
        "How many of the LUNs this node must reach to go on.",
        choices=tuple(Requirement),
    ),
    Setting(
        "watchdog",
        str,
        watchdog_device.AUTO,
        "The watchdog device. `auto`: the first hardware one, else a software one. `none`: for trying things out.",
    ),
    Setting(
        "watchdog_timeout_s",
        int,
        5,
        "Timeout after which the hardware resets this node unless it was fed. It is fed at least three times as often.",
        low=2,
        high=600,
    ),
    Setting(
        "shutdown_timeout_s",
        int,
        600,
        "Timeout that a stop sets on a watchdog that cannot be disarmed (nowayout): time for the rest of a shutdown, "
        "or for an upgrade. 0: leave it at `watchdog_timeout_s`.",
        low=0,
        high=3600,
    ),
    Setting(
        "self_fence",
        str,
        SelfFenceBy.RESET.value,
        "`reset`: at once, the watchdog is the fallback. `watchdog`: stop feeding. `none`: only with `watchdog = "
        '"none"`.',
        choices=tuple(SelfFenceBy),
    ),
    Setting(
        "grace_s",
        float,
        GRACE_S,
        "How long the storage may be lost before this node fences itself. Make it longer than the array's controllers "
        "need to take over. A lost key has no grace.",
        low=0.0,
        high=3600,
    ),
    Setting(
        "settle_s",
        float,
        3.0,
        "How long the storage must be back until the grace is whole again.",
        low=0.0,
        high=3600,
    ),
    Setting("probe_interval_s", float, 1.0, "Time between two reads of each path.", low=0.1, high=60),
    Setting(
        "probe_deadline_s",
        float,
        2.0,
        "Timeout for one read of a path. A path that does not answer within it counts as lost.",
        low=0.1,
        high=60,
    ),
    Setting(
        "check_interval_s",
        float,
        2.0,
        "Time between two readings of each LUN's registrations.",
        low=0.1,
        high=60,
    ),
    Setting(
        "answer_deadline_s",
        float,
        2.0,
        "Timeout for reading a LUN's registrations.",
        low=0.1,
        high=60,
    ),
    Setting(
        "on_target_reset",
        str,
        TargetReset.RE_REGISTER.value,
        "What to do when a target has lost all registrations: `re-register`, or `self-fence`.",
        choices=tuple(TargetReset),
    ),
    Setting(
        "unregister_on_stop",
        bool,
        False,
        "Remove this node's key at an orderly stop, unless this node holds the reservation.",
    ),
    Setting("local_node", str, "", "This node's name in the cluster, where it is not the host name."),
    Setting("local_key", str, "", "This node's reservation key, where it is not derived from the cluster's files."),
    Setting(
        "key_value", str, "nodeid", "How keys are derived, as the agent's option.", choices=("nodeid", "id", "hash")
    ),
    Setting(
        "reservation_type",
        str,
        "WERO",
        "The type of reservation to make where none is held, as the agent's option, but neither `WE` nor `EA`.",
        choices=("WERO", "EARO", "WEAR", "EAAR"),
    ),
    Setting("aptpl", bool, True, "Ask targets to keep registrations through a power loss, where they can."),
    Setting("cluster_conf", str, "", "Path of cluster.conf, where it is not in its usual place."),
    Setting(
        "state_dir",
        str,
        "/run/fence-halvm",
        "Directory for snapshot, marker and control socket, which must not outlive a boot.",
    ),
    Setting(
        "record_dir",
        str,
        "/var/lib/fence-halvm",
        "Directory for the last self-fence and the journal, which must outlive a boot.",
    ),
)

BY_NAME = {setting.name: setting for setting in SETTINGS}


def read_settings(path: str) -> Settings:
    """Reads and checks a file. Raises UsageError; its message has one complaint a line."""
    try:
        content = read_regular_file(path, link=True)
    except FileNotFoundError as error:
        raise UsageError(f'{path}: {error.strerror}: make it; one line will do: vg = "shared_vg"') from error
    except PermissionError as error:
        raise UsageError(f"{path}: {error.strerror}: run this as root, or let all users read it") from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}: give a file that can be read") from error
    except ValueError as error:
        raise UsageError(f"{path}: {error}: give a file that can be read") from error
    try:
        return parse_settings(content.decode("utf-8"), path)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path} line {line}: not UTF-8: save the file as UTF-8") from error


def parse_settings(text: str, source: str = "watchdogd.toml") -> Settings:
    """Checks the text of a file. Raises UsageError with every complaint, one a line."""
    import tomllib  # the feeder only knows the types here; what it loads stays in locked memory

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(_toml_complaint(str(error), text, source)) from error
    except RecursionError as error:
        raise UsageError(f"{source}: nested too deeply: give one setting a line, as grace_s = 10") from error
    complaints: list[str] = []
    for heading in [name for name, found in document.items() if name not in BY_NAME and isinstance(found, dict)]:
        complaints.append(_unknown(heading, {}, text, source))
        document = {**document.pop(heading), **document}  # what stands under it is looked at all the same
    complaints += [_unknown(name, found, text, source) for name, found in document.items() if name not in BY_NAME]
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        found = document.get(setting.name, setting.default)
        value = _typed(setting, found)
        if value is None:
            shown = repr(found) if len(repr(found)) < 60 else "this"
            complaints.append(f"{_where(setting.name, text, source)}: invalid value {shown}: {setting.remedy}")
            value = setting.default
        values[setting.name] = value
    enums = {"self_fence": SelfFenceBy, "require": Requirement, "on_target_reset": TargetReset}
    typed = {name: enum(values[name]) for name, enum in enums.items()}
    settings = Settings(source=source, **{**values, **typed})
    complaints += [f"{_where(name, text, source)}: {what}" for name, what in _relations(settings)]
    if complaints:
        raise UsageError("\n".join(complaints))
    return settings


def _relations(settings: Settings) -> list[tuple[str, str]]:
    """Errors between settings, or within a text: the setting to name, and the complaint."""
    found: list[tuple[str, str]] = []
    if not settings.vg and not settings.devices:
        found.append(("vg", 'nothing says which LUNs are shared: give vg = "shared_vg", or devices = ["naa.6…"]'))
    if settings.vg and settings.devices:
        found.append(("devices", "vg is given, too: give one of them"))
    if urls := [entry for entry in settings.devices if entry.startswith("iscsi://")]:
        found.append(("devices", f"{urls[0]} is no disk of this node: give the disk by which this node writes"))
    if len(set(settings.devices)) < len(settings.devices):
        found.append(("devices", "one of them is given twice: give each once"))
    if settings.self_fence is SelfFenceBy.NONE and settings.watchdog != watchdog_device.NONE:
        found.append(("self_fence", '"none" goes with watchdog = "none" only: give "reset" or "watchdog"'))
    if settings.self_fence is SelfFenceBy.WATCHDOG and settings.watchdog == watchdog_device.NONE:
        found.append(("self_fence", '"watchdog" needs a watchdog: give watchdog = "auto"'))
    if settings.watchdog not in (watchdog_device.AUTO, watchdog_device.NONE) and not settings.watchdog.startswith(
        "/dev/"
    ):
        found.append(("watchdog", f'"{settings.watchdog}" is no device: give "auto", "none", or as "/dev/watchdog0"'))
    least_s = settings.probe_interval_s + settings.probe_deadline_s
    if settings.grace_s < least_s:
        found.append(
            (
                "grace_s",
                f"{settings.grace_s:g} is less than one look may take (probe_interval_s + probe_deadline_s = "
                f"{least_s:g}), so one slow answer would reset this node: give {least_s:g} or more, or shorten those",
            )
        )
    if settings.local_key:
        try:
            ReservationKey.parse(settings.local_key)
        except UsageError as error:
            found.append(("local_key", str(error).removeprefix("key: ")))
    for name in ("state_dir", "record_dir", "cluster_conf"):
        value = getattr(settings, name)
        if value and not value.startswith("/"):
            found.append((name, f'"{value}" does not begin with a slash: give the whole path'))
    return found


def _typed(setting: Setting, value: object) -> object:
    """The value as its type; None when it is invalid."""
    match value:
        case bool():
            return value if setting.kind is bool else None
        case str() if setting.kind is str:
            if (setting.choices and value not in setting.choices) or not value.isprintable():
                return None
            return value
        case list() | tuple() if setting.kind is tuple:
            good = all(isinstance(each, str) and each.strip() and each.isprintable() for each in value)
            return tuple(each.strip() for each in value) if good else None
        case int() | float() if setting.kind in (int, float):
            if setting.kind is int and not isinstance(value, int):
                return None
            return setting.kind(value) if setting.low <= value <= setting.high else None
        case _:
            return None


def _unknown(name: str, found: object, text: str, source: str) -> str:
    import difflib

    if isinstance(found, dict):
        remedy = "leave the heading out, there are no sections"
    # "timeout" is watchdog_timeout_s, 0.56 alike; "section" is not reservation_type, 0.52.
    elif near := difflib.get_close_matches(name, BY_NAME, n=1, cutoff=0.55):
        remedy = f"did you mean {near[0]}?"
    else:
        remedy = f"the settings are {', '.join(BY_NAME)}"
    return f"{_where(name, text, source)}: there is no such setting: {remedy}"


def _where(name: str, text: str, source: str) -> str:
    """The first line that begins with the name, or with a table of that name: tomllib reports no lines."""
    pattern = re.compile(rf"\s*(\[+\s*)?[\"']?{re.escape(name)}[\"']?\s*[=.\]]")
    for number, line in enumerate(text.split("\n"), start=1):
        if pattern.match(line):
            return f"{source} line {number}: {name}"
    return f"{source}: {name}"


def _toml_complaint(message: str, text: str, source: str) -> str:
    """The complaint for tomllib's error, which names line and column at its end, or the end of the document."""
    what, _, place = message.partition(" (at ")
    line = re.match(r"line (\d+)", place)
    number = int(line[1]) if line else text.rstrip().count("\n") + 1
    return f"{source} line {number}: {what[:1].lower()}{what[1:]}: {_toml_remedy(text.split(chr(10))[number - 1])}"


def _toml_remedy(line: str) -> str:
    from fencer.sidecar.toml_hints import hint

    named = re.match(r"[\s\"']*([\w-]+)", line)
    setting = BY_NAME.get(named[1]) if named else None
    if found := hint(line, setting.kind if setting is not None else None):
        return f"{found.what}: {found.line}"
    return setting.remedy if setting is not None else "give one setting a line, as grace_s = 10"


def located(complaint: str, source: str) -> str:
    """An error found after the reading, with the file in front, and the line where it begins with a setting."""
    name, _, what = complaint.partition(": ")
    if name not in BY_NAME:
        return f"{source}: {complaint}"
    try:
        text = read_regular_file(source, link=True).decode("utf-8", "replace")
    except (OSError, ValueError):
        text = ""  # it was there a moment ago
    return f"{_where(name, text, source)}: {what}"


def _or(words: list[str]) -> str:
    return ", ".join(words[:-1]) + " or " + words[-1]


def describe(settings: Mapping[str, Any]) -> str:
    """The settings as lines of a file."""
    return "".join(f"{name} = {_literal(settings[name])}\n" for name in BY_NAME)


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(_literal(each) for each in value) + "]"
    if isinstance(value, str):
        return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{value:g}"
