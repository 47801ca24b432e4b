"""How a verify is reported: lines for a person, one object for a machine.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import to_builtins

from cdc.message import Aside, keys_text
from cdc_verify.checkpoint import Checkpoint
from cdc_verify.compare import KINDS, WRONG_TYPE, Difference, Found
from cdc_verify.parts import in_words

SHOWN_DIFFERENCES = 10
SHOWN_IN_JSON = 1000
_WORDS = {
    "missing": "missing in Redis",
    "stale": "with another content",
    "orphan": "of no row",
    "wrong_type": "of a wrong type",
    "shared": "shared by several rows",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found of one table, and what became of it."""

    table: str
    found: Checkpoint
    """As the comparison left it, before any repair."""
    seconds: float
    sample: float
    resumed: bool
    orphans_checked: bool
    dead_letters: int
    """Kept letters of the table: changes that were never applied."""
    is_being_read: bool
    """Its rows are being read (first start, or a refresh): what is not there yet is on its way."""
    repaired: bool = False
    """A repair was asked for, and nothing is wrong after it."""

    @property
    def equal(self) -> bool:
        """Whether Redis is what MySQL is, as far as was looked: after a repair, now."""
        return self.repaired or not self.found.tally.differences

    def about(self, *, with_values: bool) -> dict[str, Any]:
        """Return what `--json` prints (docs/json-output.md)."""
        tally = self.found.tally
        return {
            "table": self.table,
            "equal": self.equal,
            "aside": None,
            "rows": tally.rows,
            **{kind: tally.counts[kind] for kind in KINDS},
            "unsettled": tally.unsettled,
            "seconds": round(self.seconds, 3),
            "sample": self.sample,
            "seed": self.found.seed,
            "resumed": self.resumed,
            "orphans_checked": self.orphans_checked,
            "dead_letters": self.dead_letters,
            "is_being_read": self.is_being_read,
            "repaired": self.repaired,
            "differences": [
                _difference(one, with_values=with_values) for one in self.found.kept[:SHOWN_IN_JSON]
            ],
        }

    def lines(self, *, with_values: bool) -> list[str]:
        """Return what a person reads."""
        tally = self.found.tally
        rate = tally.rows / self.seconds if self.seconds else 0.0
        part = "" if self.sample >= 100 else f", a sample of {self.sample:g} %"
        head = f"{tally.rows:,} rows in {self.seconds:.1f} s, {rate:,.0f} rows/s{part}"
        if self.equal and not tally.differences:
            out = [f"{self.table}: equal   {head}"]
        else:
            counts = ", ".join(
                f"{tally.counts[kind]:,} {_WORDS[kind]}" for kind in KINDS if tally.counts[kind]
            )
            out = [f"{self.table}: DIFFERENT   {head}", f"  keys {counts}"]
            shown = self.found.kept[:SHOWN_DIFFERENCES]
            out += [line for one in shown for line in _lines(one, with_values=with_values)]
            if (more := tally.differences - len(shown)) > 0:
                out.append(f"  … and {more:,} more")
        return out + self._notes()

    def _notes(self) -> list[str]:
        out = []
        if self.repaired:
            out.append("  repaired: every one of these keys is right now")
        if self.found.tally.unsettled:
            out.append(
                f"  {self.found.tally.unsettled:,} keys never held still and are not counted: "
                "run it again when less is written"
            )
        if not self.orphans_checked:
            out.append(
                "  keys of no row were not looked for: the key template begins with a column"
            )
        if self.found.tally.counts["shared"]:
            out.append(
                "  rows that share a key overwrite each other: let the key template contain a "
                "primary or\n  unique key, --key '{table}:{pk}'"
            )
        if self.dead_letters:
            out.append(
                f"  {self.dead_letters:,} dead letters of it are kept; what they were for counts "
                "as different: cdc dead list"
            )
        if self.is_being_read:
            out.append("  its rows are being read now: missing keys may be on their way")
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedTable:
    """A table that is set aside: it is not exact, so there is nothing to compare."""

    table: str
    aside: Aside
    equal: bool = False

    def about(self, *, with_values: bool) -> dict[str, Any]:
        """Return what `--json` prints (docs/json-output.md)."""
        del with_values
        return {"table": self.table, "equal": self.equal, "aside": to_builtins(self.aside)}

    def lines(self, *, with_values: bool) -> list[str]:
        """Return what a person reads."""
        del with_values
        keys = keys_text(is_removed=self.aside.removed)
        fix = [f"  fix:  {line}" for line in self.aside.fix.splitlines()[:1]]
        head = f"{self.table}: SET ASIDE   not compared, keys {keys}"
        return [head, f"  {self.aside.reason}", *fix]


def _difference(one: Difference, *, with_values: bool) -> dict[str, Any]:
    about: dict[str, Any] = {"kind": one.kind, "key": in_words(one.key)}
    if with_values:
        about |= {"mysql": _value(one.wanted), "redis": _value(one.found)}
    return about


def _lines(one: Difference, *, with_values: bool) -> Sequence[str]:
    name = in_words(one.key)
    out = [f"  {one.kind.replace('_', ' '):10}  {name}"]
    if with_values:
        out += [f"    mysql  {_value(one.wanted)}", f"    redis  {_value(one.found)}"]
    return out


def _value(content: Found) -> Any:
    if isinstance(content, dict):
        return {_text(name): _text(value) for name, value in content.items()}
    return content if content is None or content == WRONG_TYPE else _text(content)


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode(errors="backslashreplace")
