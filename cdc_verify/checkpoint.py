"""How far a verify has come, and how the last one ended: two hashes in Redis for each table.

Pure.  ``cdc:<pipeline>:verify:<schema.table>`` is the end of the last one, for people and for
`cdc status`; the same with the suffix ``:progress`` is what an interrupted one resumes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from cdc.own_keys import verify_key
from cdc_verify.compare import KINDS, Difference, Fault, Tally
from cdc_verify.select import KeyText

KEPT_DIFFERENCES = 10_000
"""Keys that are remembered; of more only the number."""
PROGRESS_KEPT_S = 86_400
"""An interrupted verify is gone on with for a day, then forgotten."""


def progress_key(pipeline: str, table: str) -> str:
    """Return the key of the progress of a verify."""
    return verify_key(pipeline, table) + ":progress"


class _Kept(msgspec.Struct):
    key: bytes
    kind: Fault
    row: KeyText


@dataclass(slots=True)
class Checkpoint:
    """A place between two chunks: everything before it is settled."""

    of: str
    """What is verified: the template, the model, the sample; another one is another verify."""
    seed: int
    began_us: int
    after: KeyText = ()
    chunk: int = 0
    walked: bool = False
    """All rows have been read; what is left is the look for orphans."""
    spent_s: float = 0.0
    tally: Tally = field(default_factory=Tally)
    kept: list[Difference] = field(default_factory=list)

    def take(self, wrong: list[Difference], *, with_values: bool) -> None:
        """Count differences, and remember the first ones."""
        for one in wrong:
            self.tally.count(one.kind)
            if len(self.kept) < KEPT_DIFFERENCES:
                if not with_values:
                    one = Difference(one.key, one.kind, one.row)  # noqa: PLW2901
                self.kept.append(one)

    @property
    def keeps_all(self) -> bool:
        """Whether every difference is remembered by its key."""
        return len(self.kept) == self.tally.differences

    def fields(self, rows: int, after: KeyText, chunk: int) -> dict[str, str | bytes]:
        """Return the hash that an interrupted verify resumes from, at a point of the walk."""
        kept = [_Kept(one.key, one.kind, one.row) for one in self.kept]
        return {
            "of": self.of,
            "seed": str(self.seed),
            "began": str(self.began_us),
            "after": msgspec.json.encode(after),
            "chunk": str(chunk),
            "walked": str(int(self.walked)),
            "seconds": f"{self.spent_s:.1f}",
            "rows": str(rows),
            "unsettled": str(self.tally.unsettled),
            "kept": msgspec.json.encode(kept),
            **{kind: str(self.tally.counts[kind]) for kind in KINDS},
        }


def checkpoint_of(fields: Mapping[bytes, bytes], of: str) -> Checkpoint | None:
    """Return where an interrupted verify of the same resumes; None: there is none."""
    try:
        if fields[b"of"] != of.encode():
            return None
        kept = msgspec.json.decode(fields[b"kept"], type=list[_Kept])
        return Checkpoint(
            of=of,
            seed=int(fields[b"seed"]),
            began_us=int(fields[b"began"]),
            after=msgspec.json.decode(fields[b"after"], type=KeyText),
            chunk=int(fields[b"chunk"]),
            walked=fields[b"walked"] == b"1",
            spent_s=float(fields[b"seconds"]),
            tally=Tally(
                rows=int(fields[b"rows"]),
                unsettled=int(fields[b"unsettled"]),
                counts={kind: int(fields[kind.encode()]) for kind in KINDS},
            ),
            kept=[Difference(one.key, one.kind, one.row) for one in kept],
        )
    except (KeyError, ValueError, msgspec.DecodeError):
        return None


def end_fields(tally: Tally, *, now_us: int, seconds: float, sample: float) -> dict[str, str]:
    """Return the hash of how a verify ended.

    ``{"ts": "1795414891568123", "rows": "1000000", "missing": "0", …, "seconds": "18.2"}``
    """
    return {
        "ts": str(now_us),
        "rows": str(tally.rows),
        **{kind: str(tally.counts[kind]) for kind in KINDS},
        "unsettled": str(tally.unsettled),
        "seconds": f"{seconds:.1f}",
        "sample": f"{sample:g}",
    }
