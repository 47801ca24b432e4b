"""Last states of keys, fields and members within a batch, and the commands that write them.

Pure.  Each state is whole and in place of every state before it, so that only the last one of a
batch is written (docs/guarantees.md, invariant 5): a key's value, a field's value of a parent's
hash, a member's being in a set, its score in a sorted set.  Templates are told apart at the start,
so no key has two kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from cdc.key import KeyTemplate
from cdc.message import Change, Delivery, Member, SnapshotRow
from cdc.table import Table
from redis_sink.plan.batch import Command, cause_of
from redis_sink.plan.row_hash import hash_fields

Kind = Literal["hash", "set", "zset"]
"""Of a key with several rows, in Redis' own words (TYPE)."""
_MALFORMED = (msgspec.DecodeError, UnicodeError, ValueError, IndexError)


class Expiring(NamedTuple):
    """A key's state in a table with ``mode = "cache"``."""

    value: str
    source: Delivery | None
    """Where a hash came from; None: a string."""
    ttl_s: int


KeyState = str | None | tuple[str, Delivery] | Expiring
"""A key's last state: its string, gone, or a hash's JSON with where it came from."""


class Part(NamedTuple):
    """A row's place in a key that several rows share: a field or a member."""

    kind: Kind
    key: str
    name: str

    @property
    def live(self) -> str:
        """The entry in a refresh's set of live keys; no key of a table begins so."""
        return live_part(self.kind, self.key, self.name)


def live_part(kind: Kind, key: str, name: str) -> str:
    r"""Return a part's entry in a refresh's set of live keys.

    >>> live_part("set", "orders:of:7", "orders:42")
    '\x00set\x0011\x00orders:of:7orders:42'
    """
    return f"\0{kind}\0{len(key.encode())}\0{key}{name}"


class Ground(NamedTuple):
    """A template of a table's keys in Redis, and the type of what is there."""

    table: str
    template: KeyTemplate
    kind: Kind | None
    """None: a key for each row."""


def grounds_of(table: Table) -> list[Ground]:
    """Return where a table's rows are: its keys, or its parents' hashes, then its indexes."""
    kind: Kind | None = "hash" if table.field is not None else None
    return [
        Ground(table.qualified, table.key, kind),
        *(Ground(table.qualified, index.key, index.kind) for index in table.indexes),
    ]


class Model(NamedTuple):
    """How the sink keeps a table's rows."""

    is_hash: bool
    has_field: bool
    has_index: bool
    ttl_s: int

    @property
    def is_usual(self) -> bool:
        """A key for each row and nothing else: what the compiled path takes."""
        return not (self.has_field or self.has_index or self.ttl_s)


def model_of(table: Table) -> Model:
    """Return how a table's rows are kept."""
    return Model(table.model == "hash", table.field is not None, bool(table.indexes), table.ttl_s)


class States:
    """What a batch leaves."""

    def __init__(self) -> None:
        self.keys: dict[str, KeyState] = {}
        self.parts: dict[Part, str | None] = {}
        """A field's value, a score, "" for a member of a set; None: gone."""

    def take(self, model: Model, row: Change | SnapshotRow, delivery: Delivery) -> None:
        """Take in a row of a table that is kept in another way than usual."""
        old_index: Iterable[Member] = ()
        if isinstance(row, Change):
            self._leave(row)
            old_index = row.old_index or ()
        for member in old_index:
            self.parts[part_of(member)] = None
        if row.field is not None:
            self.parts[Part("hash", row.key, row.field)] = row.value
        else:
            self.keys[row.key] = key_state(model, row.value, delivery)
        for member in row.index or ():
            self.parts[part_of(member)] = member.score or ""

    def _leave(self, change: Change) -> None:
        if change.old_key is None:
            return
        if change.field is None:
            self.keys[change.old_key] = None
        elif change.old_field is not None:
            self.parts[Part("hash", change.old_key, change.old_field)] = None

    @property
    def live(self) -> list[str]:
        """Entries for a refresh's set of live keys."""
        keys = [key for key, state in self.keys.items() if state is not None]
        return keys + [part.live for part, state in self.parts.items() if state is not None]

    @property
    def shared(self) -> dict[str, Kind]:
        """Keys that hold several rows, and the type that each must have."""
        return {part.key: part.kind for part in self.parts}

    def commands(self, refuse: Callable[[Delivery, str, str], None]) -> list[Command]:
        """Return the final state of every key as commands.

        Args:
            refuse: called for a hash whose value is not a JSON object: delivery, reason, key.
        """
        strings: list[str] = ["MSET"]
        gone: list[str] = ["UNLINK"]
        more: list[Command] = []
        extend = strings.extend
        for key, state in self.keys.items():
            if type(state) is str:
                extend((key, state))
            elif state is None:
                gone.append(key)
            else:
                value, source, ttl_s = state if isinstance(state, Expiring) else (*state, 0)
                if source is None:
                    more.append(("SET", key, value, "EX", str(ttl_s)))
                    continue
                try:
                    fields = hash_fields(value)
                except _MALFORMED as error:
                    refuse(source, f"no hash: {cause_of(error)}", key)
                    continue
                # The whole hash is replaced: a field that is NULL now must not stay.
                gone.append(key)
                if fields:
                    more.append(("HSET", key, *fields))
                if fields and ttl_s:
                    more.append(("EXPIRE", key, str(ttl_s)))
        out: list[Command] = [tuple(part) for part in (gone, strings) if len(part) > 1]
        return [*out, *more, *_part_commands(self.parts)]


def key_state(model: Model, value: str | None, delivery: Delivery) -> KeyState:
    """Return the state of a key that holds one row."""
    if value is None:
        return None
    if model.ttl_s:
        return Expiring(value, delivery if model.is_hash else None, model.ttl_s)
    return (value, delivery) if model.is_hash else value


def part_of(member: Member) -> Part:
    """Return the part that an index entry of a message is.

    Raises:
        ValueError: it is of neither a set nor a sorted set, or of both.
    """
    if (member.set is None) == (member.zset is None):
        raise ValueError("an index entry of no set")
    if member.set is not None:
        return Part("set", member.set, member.member)
    return Part("zset", member.zset or "", member.member)


def live_of(row: Change | SnapshotRow) -> list[str]:
    """Return what a row that was passed over has in a refresh's set of live keys."""
    own = row.key if row.field is None else Part("hash", row.key, row.field).live
    return [own] + [part_of(member).live for member in row.index or ()]


def _part_commands(parts: Mapping[Part, str | None]) -> Iterator[Command]:
    by_key: dict[tuple[Kind, str], tuple[list[str], list[str]]] = {}
    for (kind, key, name), state in parts.items():
        gone, stays = by_key.setdefault((kind, key), ([], []))
        if state is None:
            gone.append(name)
        else:
            stays += _pair(kind, name, state)
    verbs = {"hash": ("HDEL", "HSET"), "set": ("SREM", "SADD"), "zset": ("ZREM", "ZADD")}
    for (kind, key), (gone, stays) in by_key.items():
        if gone:
            yield (verbs[kind][0], key, *gone)
        if stays:
            yield (verbs[kind][1], key, *stays)


def _pair(kind: Kind, name: str, state: str) -> Sequence[str]:
    if kind == "set":
        return (name,)
    return (state, name) if kind == "zset" else (name, state)
