"""Values: the state of everything, a scenario, and the rules of the protocol."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from cdc.message import KeyRange
from tests.model.binlog import Rows, Transaction
from tests.model.sides import Read

STOPPED = "stopped"
"""A role that ended with a CdcError that waiting does not heal."""

Data = tuple[str | None, ...]
"""What each key of the table holds."""


class Wrong(AssertionError):
    """A property that must hold in every state does not."""


class Stored(NamedTuple):
    """A message in the stream."""

    message: int
    headers: int
    """Which: see `tests.model.world.HEADERS`."""
    life: int
    """NATS had lost its newest messages so many times when it was stored."""


class Flight(NamedTuple):
    """Messages on their way to the stream; they may arrive after their sender died."""

    owner: int
    """-1: nobody waits for it any more."""
    fence: int
    """Expected last sequence; -1: none."""
    begun: int
    """Where its first message is; 0: not stored."""
    rest: tuple[int, ...]
    is_claim: bool


class Reader(NamedTuple):
    """A reader that is attached."""

    history: int
    sequence: int
    phase: Literal["claim", "end", "run"]
    outbox: tuple[tuple[int, ...], ...] = ()
    read: Read | None = None


class Pending(NamedTuple):
    """A batch that the sink has decided on."""

    writes: tuple[tuple[str, str | None], ...]
    live: tuple[frozenset[str] | None, ...]
    """What it does to the keys that a refresh has spoken of: adds some; None: there are none."""
    dead: tuple[str, ...]
    """Values of bare messages that become dead letters."""
    position: bytes
    consumed: int
    sweeps: bool
    """The table is read again to its end."""
    half: bool = False
    """One of two steps is done; where a variant has two."""


class Looking(NamedTuple):
    """A sink that has asked one of its servers where it is, and not the other one."""

    raw: bytes | None = None
    """The position in Redis."""
    extent: tuple[int, int] = (0, 0)
    """First and last sequence of the stream; where it is asked before Redis."""


class Sink(NamedTuple):
    """A sink that follows."""

    applied: bytes
    armed: bytes | None
    """The position as it left it in Redis."""
    next: int
    """Sequence of the message that it takes next."""
    pending: Pending | None = None
    sweeps: bool = False
    """Keys of rows that are gone are to be removed."""


class Redis(NamedTuple):
    """What Redis holds, and how new each value is."""

    data: Data
    position: bytes | None
    shown: tuple[int, ...]
    """Of each key the newest version that was to be seen: `World.version`."""
    live: frozenset[str] = frozenset()
    """Keys that messages spoke of since a refresh began."""


class State(NamedTuple):
    """Everything."""

    written: int
    """Transactions in the binlog."""
    visible: int
    """Transactions that a SELECT sees."""
    base: int
    """So many messages have left the stream's head."""
    stream: tuple[Stored, ...]
    flights: tuple[Flight, ...]
    readers: tuple[Reader | str | None, ...]
    sinks: tuple[Sink | Looking | str | None, ...]
    redis: Redis
    past: tuple[Redis, ...]
    """What Redis may be rolled back to."""
    lives: int
    """So many times NATS has lost its newest messages."""
    acknowledged: int
    """Sequence that NATS believes applied; variants alone look at it."""
    clock: int
    faults: int
    """So many may still happen."""
    beats: int
    """So many heartbeats may still go out where nothing else makes them."""
    bares: int = 0
    """So many messages an application may still publish by itself."""
    dead: frozenset[str] = frozenset()
    """Values of those that became dead letters."""

    @property
    def last(self) -> int:
        """The stream's last sequence."""
        return self.base + len(self.stream)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The protocol; anything but the defaults is a variant that must fail."""

    fence: bool = True
    heartbeats_are_fenced: bool = True
    claim: bool = True
    """A reader that begins ends the batch that may still run."""
    chain: bool = True
    """The sink looks at ``prev``."""
    position: Literal["with data", "apart", "acknowledged after", "acknowledged before"] = (
        "with data"
    )
    waits_for_low: bool = True
    drops_touched: bool = True
    high_is_executed: bool = False
    """A chunk may go out behind what was executed when it was read, not what was written."""
    redis_first: bool = True
    """A sink asks Redis where it is before it asks the stream what it holds."""
    epochs_are_read_again: bool = True
    """What may have been there before may be of an epoch before."""
    marks: bool = True
    """The position says which messages stood where."""
    clock_stands: bool = False
    """Ids of a snapshot's rows do not say when they were read."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What happens, and what may go wrong."""

    transactions: tuple[Transaction, ...]
    rows: Rows = field(default_factory=dict)
    snapshot: bool = False
    chunk_rows: int = 2
    ranges: tuple[KeyRange, ...] = ()
    """Of keys, that are read in place of the whole table."""
    lag: bool = False
    """A transaction may be in the binlog and not visible yet."""
    all_written: bool = True
    """False: each commit is a step."""
    readers: int = 1
    sinks: int = 1
    may: frozenset[str] = frozenset()
    """``crash``, ``lose`` (NATS starts again without its newest messages), ``lose quietly``
    (nobody is disconnected), ``lose within the epoch`` (no refresh is lost), ``roll back``,
    ``evict``, ``refresh`` (all tables, behind a gap), ``refresh in line``."""
    faults: int = 2
    beats: int = 1
    bares: int = 0
    looks_apart: bool = False
    """A sink that begins asks its two servers in two steps."""
    rules: Rules = Rules()
