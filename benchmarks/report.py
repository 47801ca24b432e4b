"""The results as JSON and as Markdown.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from benchmarks.measurement import OURS, Results, Series, systems_of
from benchmarks.spread import Spread

TITLES = {
    "drain100": "Drain: 100-row transactions, 8 columns",
    "drain1": "Drain: 1-row transactions, 8 columns",
    "wide": "Drain: wide rows, 40 columns with text and JSON",
    "churn": "Drain: a third each of key changes, deletes and inserts",
    "backfill": "Backfill of a table that has rows already",
    "onetx": "One transaction of many rows",
    "start": "Start",
    "idle": "Idle",
}
RATED = "rows/s"
"""The quantity whose ratio to ours is shown."""
DETAIL = ": "
"""Stands between a quantity and the process that it is of."""


def to_json(
    machine: Mapping[str, str],
    options: Mapping[str, Any],
    results: Results,
    complete: bool = True,
) -> bytes:
    """Return everything, each series with all its values, indented.

    Args:
        complete: False while the run goes on, so in what an interrupted one leaves.
    """
    series = [
        {
            "scenario": one.scenario,
            "system": one.system,
            "quantity": one.quantity,
            "median": one.spread.median,
            "low": one.spread.low,
            "high": one.spread.high,
            "values": one.values,
        }
        for one in results.series()
    ]
    whole = {
        "complete": complete,
        "machine": machine,
        "options": options,
        "notes": results.notes,
        "series": series,
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"


def to_markdown(machine: Mapping[str, str], results: Results, complete: bool = True) -> str:
    """Return the tables for docs/performance.md: the machine, then each scenario."""
    parts = ["Medians of all rounds, with the smallest and the greatest in brackets.", ""]
    if not complete:
        parts = ["**The run did not come to its end.**", "", *parts]
    parts += [f"- {name}: {value}" for name, value in machine.items()]
    for scenario in results.scenarios():
        parts += ["", f"### {TITLES.get(scenario, scenario.capitalize())}", ""]
        parts += _scenario(scenario, results)
    if results.notes:
        parts += ["", "### Notes", ""]
        parts += [f"- {note.splitlines()[0]}" for note in results.notes]
    return "\n".join(parts) + "\n"


def _scenario(scenario: str, results: Results) -> list[str]:
    series = results.series(scenario)
    main = [one for one in series if DETAIL not in one.quantity]
    details = [one for one in series if DETAIL in one.quantity]
    lines = _main(scenario, main, results)
    if details:
        lines += ["", *_details(details)]
    return lines


def _main(scenario: str, series: Sequence[Series], results: Results) -> list[str]:
    """Return a line for each system, a column for each quantity, and how many times ours is."""
    if not series:
        return []
    quantities = list(dict.fromkeys(one.quantity for one in series))
    cells = {(one.system, one.quantity): number(one.spread) for one in series}
    systems = systems_of(series)
    rated = RATED in quantities and len(systems) > 1 and OURS in systems
    head = ["", *quantities, *(["cdc is"] if rated else [])]
    body = []
    for system in systems:
        line = [system, *(cells.get((system, quantity), "") for quantity in quantities)]
        if rated:
            line.append(_times(results.ratio(scenario, RATED, system)) if system != OURS else "")
        body.append(line)
    return table(head, body)


def _details(series: Sequence[Series]) -> list[str]:
    """Return a line for each process of each system."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for one in series:
        quantity, _, process = one.quantity.partition(DETAIL)
        cells.setdefault((one.system, process), {})[quantity] = number(one.spread)
    quantities = list(dict.fromkeys(name for found in cells.values() for name in found))
    body = [
        [system, process, *(found.get(name, "") for name in quantities)]
        for (system, process), found in cells.items()
    ]
    return table(["with", "process", *quantities], body)


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table.

    >>> table(["a", "b"], [["1", "2"]])
    ['| a | b |', '|---|---|', '| 1 | 2 |']
    """
    return [
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
        *(f"| {' | '.join(line)} |" for line in body),
    ]


def number(spread: Spread) -> str:
    """Return a median with its range: ``81,234 (80,011 to 83,000)``; alone for one round."""
    median, low, high = (figure(each) for each in (spread.median, spread.low, spread.high))
    return median if spread.rounds == 1 else f"{median} ({low} to {high})"


def figure(value: float) -> str:
    """Return a number with three digits that matter, all of them from 100 up.

    >>> [figure(81234.5), figure(12.345), figure(0.2712), figure(0)]
    ['81,234', '12.3', '0.271', '0']
    """
    if value == 0:
        return "0"
    size = abs(value)
    places = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{places}f}"


def _times(ratio: Spread | None) -> str:
    """Return how many times faster ours is: ``2.9 x (2.7 to 3.0)``."""
    if ratio is None:
        return ""
    shown = f"{ratio.median:.2f} x"
    return shown if ratio.rounds == 1 else f"{shown} ({ratio.low:.2f} to {ratio.high:.2f})"
