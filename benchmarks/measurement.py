"""What was measured, and in which run.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.spread import Spread, ratios

OURS = "cdc"


@dataclass(slots=True)
class Series:
    """One quantity of one system in one scenario, a value for each round.

    ``Series("drain100", "cdc", "rows/s", [81234.5, 80011.0])``; the unit ends the name.
    """

    scenario: str
    system: str
    quantity: str
    values: list[float] = field(default_factory=list)

    @property
    def spread(self) -> Spread:
        """Median and range; ValueError where nothing was measured."""
        return Spread.of(self.values)


class Results:
    """All that a run has measured, in the order of measuring, and what could not be."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._series: dict[tuple[str, str, str], Series] = {}

    def add(self, scenario: str, system: str, quantity: str, value: float) -> None:
        """Add the value of one round."""
        key = (scenario, system, quantity)
        self._series.setdefault(key, Series(*key)).values.append(value)

    def note(self, text: str) -> None:
        """Say once what was left out or is to be known when reading the figures."""
        if text not in self.notes:
            self.notes.append(text)

    def series(self, scenario: str | None = None) -> list[Series]:
        """Return all series, or those of one scenario."""
        return [s for s in self._series.values() if scenario in (None, s.scenario)]

    def scenarios(self) -> list[str]:
        """Return the scenarios that have values."""
        return list(dict.fromkeys(series.scenario for series in self._series.values()))

    def values(self, scenario: str, system: str, quantity: str) -> Sequence[float]:
        """Return the values of all rounds; empty where it was not measured."""
        series = self._series.get((scenario, system, quantity))
        return series.values if series else ()

    def ratio(self, scenario: str, quantity: str, system: str) -> Spread | None:
        """Return ours divided by another's, round by round; None where one is missing."""
        found = ratios(
            self.values(scenario, OURS, quantity), self.values(scenario, system, quantity)
        )
        return Spread.of(found) if found else None


def systems_of(series: Iterable[Series]) -> list[str]:
    """Return the systems in order of first appearance."""
    return list(dict.fromkeys(one.system for one in series))
