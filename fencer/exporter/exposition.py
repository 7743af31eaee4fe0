"""Makes the text of /metrics: byte for byte that of prometheus-client, which encodes only the lines that have changed.

Of the 6,000 lines that a large cluster shows, some 900 change between two scrapes, most of them by their value alone.
Such a line keeps its beginning, as prometheus-client wrote it, and gets prometheus-client's wording of the value.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric as ClientFamily
from prometheus_client.utils import floatToGoString

from fencer.exporter.metrics.families import Family, Histogram, Labels

Encode = Callable[[CollectorRegistry], bytes]
_END: Final = "# EOF\n"
_worded: Final[Callable[[float], str]] = floatToGoString


class _Encoded(NamedTuple):
    """lines: of each series. starts: of each that is one line ending with its value, what stands before that."""

    family: Family
    head: str
    lines: dict[Labels, str]
    starts: dict[Labels, str]
    text: bytes


class Exposition:
    """The text in one format. encode: prometheus-client's, of a whole registry."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._before: dict[str, _Encoded] = {}

    def text(self, families: Iterable[Family], others: Iterable[ClientFamily]) -> bytes:
        """The text of all of them, as encode makes it. others: families that prometheus-client encodes each time."""
        before, self._before = self._before, {}
        texts = []
        for family in families:
            name = family.metric.name
            encoded = before.get(name)
            if encoded is None or encoded.family is not family:
                encoded = self._encoded(family, encoded or _Encoded(Family(family.metric, {}), "", {}, {}, b""))
            self._before[name] = encoded
            texts.append(encoded.text)
        texts.append(self._encode(_Families(others)))
        return b"".join(texts)

    def _encoded(self, family: Family, before: _Encoded) -> _Encoded:
        """The lines of a family. before: the same metric's; its unchanged lines are kept."""
        head, lines, starts, new = before.head, dict[Labels, str](), dict[Labels, str](), list[Labels]()
        for labels, value in family.series.items():
            line = before.lines.get(labels, "")
            start = before.starts.get(labels)
            if start is not None:
                starts[labels] = start
            if not line or value != before.family.series[labels]:
                if start is None or isinstance(value, Histogram):
                    new.append(labels)
                else:
                    line = f"{start}{_worded(value)}\n"
            lines[labels] = line  # a new line has its place
        if new or not head:
            made = self._made(family, new)
            if made is None:
                return _Encoded(family, "", {}, {}, self._of_client(family.of_client()).encode())
            head = made.head
            lines |= made.lines
            starts |= made.starts
        return _Encoded(family, head, lines, starts, "".join((head, *lines.values())).encode())

    def _made(self, family: Family, new: list[Labels]) -> _Encoded | None:
        """The lines of these series alone. None: they cannot be told apart, so encode the family as a whole."""
        client = family.of_client(new)
        text = self._of_client(client)
        every = text.splitlines(keepends=True)
        head = "".join(itertools.takewhile(_is_comment, every))
        every = list(itertools.dropwhile(_is_comment, every))
        if len(every) != len(client.samples) or any(map(_is_comment, every)):
            return None
        lines, starts = {}, {}
        lines_each = len(every) // max(1, len(new))
        for number, labels in enumerate(new):
            lines[labels] = line = "".join(every[number * lines_each : (number + 1) * lines_each])
            value = family.series[labels]
            if not isinstance(value, Histogram) and line.endswith(f" {_worded(value)}\n"):
                starts[labels] = line[: line.rindex(" ") + 1]
        return _Encoded(family, head, lines, starts, text.encode())

    def _of_client(self, family: ClientFamily) -> str:
        return self._encode(_Families((family,))).decode().removesuffix(_END)


def _is_comment(line: str) -> bool:
    return line.startswith("#")


class _Families(CollectorRegistry):
    """A registry of these."""

    def __init__(self, families: Iterable[ClientFamily]) -> None:
        super().__init__(auto_describe=False)
        self._of = families

    def collect(self) -> Iterator[ClientFamily]:
        return iter(self._of)
