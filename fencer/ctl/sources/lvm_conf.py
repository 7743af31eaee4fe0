# SPDX-License-Identifier: Apache-2.0
"""lvm.conf with the line of each setting. Pure. Source: lvm.conf(5), libdm/libdm-config.c (_section, _get_token)."""

import re
from collections.abc import Iterator, Mapping
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

    def is_on(self, name: str) -> bool:
        """A boolean setting that is off unless it is set. LVM takes words, too (dm_config_find_bool)."""
        text = self.text(name, "0").casefold()
        return text in ("y", "yes", "on", "true") or (text.isdecimal() and int(text) != 0)

    def place(self, name: str) -> tuple[str, int]:
        """Where it is set; the first file and 0 where it is not."""
        found = self.settings.get(name)
        return (found.source, found.line) if found is not None else (self.sources[0] if self.sources else "lvm.conf", 0)

    def with_local(self, local: "LvmConf") -> "LvmConf":
        """These settings, overridden by those of lvmlocal.conf."""
        return LvmConf({**self.settings, **local.settings}, (*self.sources, *local.sources))


class _Token(NamedTuple):
    """A mark or a word. quoted: a string in quotes, given without them."""

    text: str
    line: int
    quoted: bool = False

    def is_mark(self, marks: str) -> bool:
        return not self.quoted and self.text in tuple(marks)


def parse_lvm_conf(text: str, source: str) -> LvmConf:
    """Raises UsageError that names the line where the text is not an lvm.conf.

    Line breaks mean no more than blanks: a brace, a value, and each part of an array may stand in the next line.
    """
    settings: dict[str, LvmSetting] = {}
    sections: list[_Token] = []
    tokens = _tokens(text, source)
    while (token := next(tokens, None)) is not None:
        if token.is_mark("}"):
            if not sections:
                raise UsageError(f"lvm_conf: {source} line {token.line}: a brace without a section: remove it")
            sections.pop()
            continue
        following = None if token.is_mark("{[],=") else next(tokens, None)
        if following is not None and following.is_mark("{"):
            sections.append(token)
        elif following is not None and following.is_mark("="):
            name = "/".join(each.text.strip("/") for each in (*sections, token))
            settings[name] = LvmSetting(_values(tokens, token, source), source, token.line)
        else:
            raise _nonsense(source, token.line)
    if sections:
        where = f"{source} line {sections[-1].line}"
        raise UsageError(f"lvm_conf: {where}: section {sections[-1].text} is not closed: close it")
    return LvmConf(settings, (source,))


_TOKEN = re.compile(
    r"""(?P<blank>\s+|\#[^\n]*)|"(?P<escaped>(?:[^"\\]|\\.)*)"|'(?P<plain>[^']*)'|(?P<word>[][{}=,]|[^][{}=,\s\#"']+)""",
    re.DOTALL,
)


def _tokens(text: str, source: str) -> Iterator[_Token]:
    line, at = 1, 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise UsageError(f"lvm_conf: {source} line {line}: a string is not closed: close it")
        if match["word"] is not None:
            yield _Token(match["word"], line)
        elif match["blank"] is None:
            yield _Token(match["plain"] if match["escaped"] is None else match["escaped"], line, quoted=True)
        line += match[0].count("\n")
        at = match.end()


def _values(tokens: Iterator[_Token], name: _Token, source: str) -> tuple[str, ...]:
    """What stands behind the equals sign of a name."""
    first = next(tokens, None)
    if first is None or first.is_mark("{}],="):
        raise _nonsense(source, name.line)
    if not first.is_mark("["):
        return (first.text,)
    found: list[str] = []
    for token in tokens:
        if token.is_mark("]"):
            return tuple(found)
        if token.is_mark("{}[="):
            break
        if not token.is_mark(","):
            found.append(token.text)
    raise UsageError(f"lvm_conf: {source} line {name.line}: an array is not closed: close it")


def _nonsense(source: str, line: int) -> UsageError:
    return UsageError(
        f"lvm_conf: {source} line {line}: neither a section nor name = value: correct it (lvmconfig --validate)"
    )
