# SPDX-License-Identifier: Apache-2.0
"""Makes the text of /metrics, and encodes again only the series that changed since the last scrape.

The text is byte for byte what prometheus-client would make of all families. Of the 6,000 lines of a large cluster,
about 900 change between two scrapes, and most of them only in their value. Such a line keeps its beginning, as
prometheus-client wrote it; prometheus-client's formatting of the new value is appended.
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
    """The encoded text of one family.

    lines: the text of each series. starts: the text before the value, for each series that is one line.
    """

    family: Family
    head: str
    lines: dict[Labels, str]
    starts: dict[Labels, str]
    text: bytes


class Exposition:
    """The text in one format. encode: prometheus-client's encoder of a whole registry."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._before: dict[str, _Encoded] = {}

    def text(self, families: Iterable[Family], others: Iterable[ClientFamily]) -> bytes:
        """The whole text. others: families that are encoded again each time."""
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
        """Encodes family. before: the same metric at the last scrape; lines that did not change are taken from it."""
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
            lines[labels] = line  # a new series keeps its position
        if new or not head:
            made = self._made(family, new)
            if made is None:
                return _Encoded(family, "", {}, {}, self._of_client(family.of_client()).encode())
            head = made.head
            lines |= made.lines
            starts |= made.starts
        return _Encoded(family, head, lines, starts, "".join((head, *lines.values())).encode())

    def _made(self, family: Family, new: list[Labels]) -> _Encoded | None:
        """Encodes the series in new only. None: the lines cannot be assigned to series; encode the whole family."""
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
    """A registry that holds the given families."""

    def __init__(self, families: Iterable[ClientFamily]) -> None:
        super().__init__(auto_describe=False)
        self._of = families

    def collect(self) -> Iterator[ClientFamily]:
        return iter(self._of)
