# SPDX-License-Identifier: Apache-2.0
"""lvm.conf with the line of each setting. Pure. Source: lvm.conf(5)."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from fencer.errors import UsageError


class LvmSetting(NamedTuple):
    """values: one, or those of an array; without quotes. source, line: where it stands."""

    values: tuple[str, ...]
    source: str
    line: int

    @property
    def text(self) -> str:
        """The first value."""
        return self.values[0] if self.values else ""


class LvmConf(NamedTuple):
    """settings: by ``section/name``. sources: the files, in the order in which later ones win."""

    settings: Mapping[str, LvmSetting]
    sources: tuple[str, ...]

    def text(self, name: str, default: str) -> str:
        """A setting, or LVM's default."""
        found = self.settings.get(name)
        return default if found is None else found.text

    def place(self, name: str) -> tuple[str, int]:
        """Where it is set; the first file and 0 where it is not."""
        found = self.settings.get(name)
        return (found.source, found.line) if found is not None else (self.sources[0] if self.sources else "lvm.conf", 0)

    def with_local(self, local: "LvmConf") -> "LvmConf":
        """These settings, overridden by those of lvmlocal.conf."""
        return LvmConf({**self.settings, **local.settings}, (*self.sources, *local.sources))


def parse_lvm_conf(text: str, source: str) -> LvmConf:
    """Raises UsageError that names the line where the text is not an lvm.conf."""
    settings: dict[str, LvmSetting] = {}
    sections: list[str] = []
    held, held_line = "", 0
    number = 0
    for number, raw in enumerate(text.split("\n"), start=1):
        line = f"{held} {_without_comment(raw)}".strip() if held else _without_comment(raw).strip()
        begin = held_line or number
        held, held_line = "", 0
        if "=" in line and line.count("[") > line.count("]"):  # an array goes on in the next line
            held, held_line = line, begin
            continue
        while line:
            if match := re.match(r"([\w./-]+)\s*\{\s*", line):
                sections.append(match[1])
            elif match := re.match(r"\}\s*", line):
                if not sections:
                    raise UsageError(f"lvm_conf: {source} line {number}: a brace without a section: remove it")
                sections.pop()
            elif match := re.match(rf"([\w./-]+)\s*=\s*({_VALUE})\s*", line):
                name = "/".join((*sections, match[1]))
                settings[name] = LvmSetting(tuple(_values(match[2])), source, begin)
            else:
                raise UsageError(
                    f"lvm_conf: {source} line {number}: neither a section nor name = value: correct it "
                    "(lvmconfig --validate)"
                )
            line = line[match.end() :]
    if held or sections:
        what = "an array" if held else f"section {sections[-1]}"
        raise UsageError(f"lvm_conf: {source} line {held_line or number}: {what} is not closed: close it")
    return LvmConf(settings, (source,))


_STRING = r'"(?:[^"\\]|\\.)*"'
_VALUE = rf"\[[^\]]*\]|{_STRING}|'[^']*'|@?[^\s{{}}\[\]\"]+"


def _without_comment(line: str) -> str:
    """Up to the first # outside of quotes."""
    kept = re.match(rf"(?:[^#\"]|{_STRING})*", line)
    return kept[0] if kept else line


def _values(text: str) -> list[str]:
    inner = text[1:-1] if text.startswith("[") else text
    return [
        match[1] or match[2] or match[3] or ""
        for match in re.finditer(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|([^\s,"\']+)', inner)
    ]
