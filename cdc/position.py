"""Places in the source's log, and the sets of transactions executed before them.

Pure.  A `Position` is always a transaction boundary (invariant 2).  `MySqlGtidSet`
and `MariaDbGtidSet` share three operations: `add`, ``in`` and `str`.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass
from typing import Protocol, Self


class GtidSet(Protocol):
    """The transactions that a server, or a reader, has behind it."""

    def add(self, gtid: str) -> None:
        """Take one transaction in."""

    def __contains__(self, gtid: str) -> bool:
        """Return whether the transaction is in the set."""

    def copy(self) -> Self:
        """Return an independent copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A transaction boundary in the binlog: resuming there loses nothing.

    ``Position(file="binlog.000002", offset=27999999, gtid_set="7271…:1-8003")``
    """

    file: str
    offset: int
    """Bytes; 64 bits, although an event's header has room for 32."""
    gtid_set: str | None
    """None: the server has no GTIDs."""

    def __str__(self) -> str:
        return f"{self.file}:{self.offset}" + (f" ({self.gtid_set})" if self.gtid_set else "")


def file_number(file: str) -> int:
    """Return the number of a binlog file, the second part of a message id.

    >>> file_number("mysql-bin.000412")
    412

    Raises:
        ValueError: the name does not end in ``.<digits>``.
    """
    _, _, digits = file.rpartition(".")
    if not digits.isdigit():
        raise ValueError(f"not a binlog file name: {file!r}")
    return int(digits)


_MYSQL_SID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}")


class MySqlGtidSet:
    """A set such as ``uuid:1-7:9,uuid2:1-3:mytag:1-2``.

    Kept as sorted, disjoint, half-open intervals for each ``uuid[:tag]``, so that a
    set with gaps stays exact.
    Source: MySQL manual, "GTID Format and Storage", tags included (8.3+).
    """

    __slots__ = ("_name", "_of", "_start", "_stop")

    def __init__(self) -> None:
        self._of: dict[str, list[tuple[int, int]]] = {}
        self._name, self._start, self._stop = "", 0, 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the set that the server prints; empty text is the empty set.

        Raises:
            ValueError: the text is not a GTID set.
        """
        out = cls()
        for part in filter(None, re.sub(r"\s", "", text).lower().split(",")):
            sid, *rest = part.split(":")
            if not _MYSQL_SID.fullmatch(sid) or not rest:
                raise ValueError(f"not a GTID set: {part[:80]!r}")
            name = sid
            for piece in rest:
                if _TAG.fullmatch(piece):
                    name = f"{sid}:{piece}"
                    continue
                first, dash, last = piece.partition("-")
                if not first.isdigit() or (dash and not last.isdigit()):
                    raise ValueError(f"not a GTID interval: {piece[:80]!r}")
                out._add(name, int(first), int(last or first) + 1)
        return out

    def add(self, gtid: str) -> None:
        """Take one transaction in, ``uuid:8003`` or ``uuid:tag:8003``."""
        name, _, number = gtid.rpartition(":")
        self.add_range(name, int(number), int(number) + 1)

    def add_range(self, name: str, start: int, stop: int) -> None:
        """Take transactions in: ``start`` to ``stop - 1`` of a ``uuid`` or ``uuid:tag``."""
        # Transactions come in rows of numbers: the newest row is kept aside.
        if start == self._stop and name == self._name:
            self._stop = stop
        else:
            self._fold()
            self._name, self._start, self._stop = name, start, stop

    def _fold(self) -> None:
        if self._name:
            self._add(self._name, self._start, self._stop)
        self._name, self._start, self._stop = "", 0, 0

    def _add(self, name: str, start: int, stop: int) -> None:
        kept: list[tuple[int, int]] = []
        for low, high in self._of.get(name, []):
            if high < start or low > stop:
                kept.append((low, high))
            else:
                start, stop = min(low, start), max(high, stop)
        bisect.insort(kept, (start, stop))
        self._of[name] = kept

    def __contains__(self, gtid: str) -> bool:
        name, _, number = gtid.rpartition(":")
        return any(low <= int(number) < high for low, high in self.intervals().get(name, ()))

    def issuperset(self, other: MySqlGtidSet) -> bool:
        """Return whether every transaction of the other set is in this one."""
        ours = self.intervals()
        return all(
            any(a <= low and high <= b for a, b in ours.get(name, ()))
            for name, spans in other.intervals().items()
            for low, high in spans
        )

    def minus(self, other: MySqlGtidSet) -> Self:
        """Return the transactions of this set that are not in the other one.

        >>> u = "7271e0ec-e705-11f1-8850-02fc00000001"
        >>> str(MySqlGtidSet.parse(f"{u}:1-9").minus(MySqlGtidSet.parse(f"{u}:1-2:5")))
        '7271e0ec-e705-11f1-8850-02fc00000001:3-4:6-9'
        """
        out, theirs = type(self)(), other.intervals()
        for name, spans in self.intervals().items():
            for start, stop in spans:
                rest = start
                for low, high in theirs.get(name, ()):
                    if rest < min(low, stop):
                        out._add(name, rest, min(low, stop))
                    rest = max(rest, high)
                if rest < stop:
                    out._add(name, rest, stop)
        return out

    def union(self, other: MySqlGtidSet) -> Self:
        """Return the transactions of both sets."""
        out = self.copy()
        for name, spans in other.intervals().items():
            for start, stop in spans:
                out._add(name, start, stop)
        return out

    def intersects(self, other: MySqlGtidSet) -> bool:
        """Return whether some transaction is in both sets."""
        ours = self.intervals()
        return any(
            a < high and low < b
            for name, spans in other.intervals().items()
            for low, high in spans
            for a, b in ours.get(name, ())
        )

    def intervals(self) -> dict[str, list[tuple[int, int]]]:
        """Return ``{"uuid[:tag]": [(first, last + 1), …]}``."""
        self._fold()
        return {name: list(spans) for name, spans in self._of.items() if spans}

    def copy(self) -> Self:
        """Return an independent copy."""
        out = type(self)()
        out._of = self.intervals()
        return out

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MySqlGtidSet) and self.intervals() == other.intervals()

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __str__(self) -> str:
        """Return the set as the server prints it: tags after the untagged part of their uuid."""
        by_sid: dict[str, list[str]] = {}
        for name, intervals in sorted(self.intervals().items()):
            sid, _, tag = name.partition(":")
            spans = [f"{a}-{b - 1}" if b - a > 1 else f"{a}" for a, b in intervals]
            by_sid.setdefault(sid, []).extend([tag, *spans] if tag else spans)
        return ",".join(":".join([sid, *parts]) for sid, parts in by_sid.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """A bound in the binlog: what a SELECT surely saw, or surely did not."""

    gtid_set: MySqlGtidSet | None
    """Counts beside the place; None: no GTIDs, or MariaDB."""
    place: tuple[int, int]
    """File number and offset in bytes."""


class MariaDbGtidSet:
    """The newest transaction of each domain, ``0-1-100,1-2-7``.

    Source: MariaDB knowledge base, "Global Transaction ID".
    """

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: dict[int, tuple[int, int]] = {}

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the position that the server prints; empty text is the empty position.

        Raises:
            ValueError: the text is not a GTID position.
        """
        out = cls()
        for part in filter(None, re.sub(r"\s", "", text).split(",")):
            out.add(part)
        return out

    def add(self, gtid: str) -> None:
        """Take one transaction in, ``domain-server-sequence``."""
        parts = gtid.split("-")
        if len(parts) != 3 or not all(p.isdigit() for p in parts):
            raise ValueError(f"not a MariaDB GTID: {gtid[:80]!r}")
        domain, server, sequence = map(int, parts)
        self._of[domain] = (server, sequence)

    def __contains__(self, gtid: str) -> bool:
        domain, _, sequence = map(int, gtid.split("-"))
        return domain in self._of and self._of[domain][1] >= sequence

    def copy(self) -> Self:
        """Return an independent copy."""
        out = type(self)()
        out._of = dict(self._of)
        return out

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MariaDbGtidSet) and self._of == other._of

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __str__(self) -> str:
        return ",".join(f"{d}-{s}-{n}" for d, (s, n) in sorted(self._of.items()))


class MariaDbState:
    """All that a MariaDB has in its binlog: of each domain and server the newest transaction.

    Source: MariaDB knowledge base, "gtid_binlog_state".
    """

    __slots__ = ("_of",)

    def __init__(self, text: str) -> None:
        """Take what the server prints, ``0-1-100,0-2-205``; empty: nothing."""
        self._of: dict[str, int] = {}
        for part in filter(None, re.sub(r"\s", "", text).split(",")):
            server, _, sequence = part.rpartition("-")
            self._of[server] = int(sequence)

    def __contains__(self, gtid: str) -> bool:
        server, _, sequence = gtid.rpartition("-")
        return self._of.get(server, 0) >= int(sequence)
