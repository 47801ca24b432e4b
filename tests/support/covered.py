"""``python -m tests.support.covered``: how much of the pure modules the unit tests cover.

Reads what ``coverage run`` wrote to ``build/coverage``.  Prints the coverage of all pure modules
together, and of each module below the floor.  The exit code is 1 if the total is below the floor,
or if no unit test imports one of the modules.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import coverage

from tests.unit.test_architecture import PURE

FLOOR_PERCENT = 95.0
"""Of the lines and branches of all pure modules together."""
ROOT = Path(__file__).parents[2]
REPORT = ROOT / "build/coverage/report.json"


def measured() -> dict[str, dict[str, Any]]:
    """Return coverage's summary of each module: ``{"cdc.key": {"percent_covered": 98.2, …}}``.

    Raises:
        coverage.exceptions.NoDataError: `build/coverage` has no measurements.
    """
    data = coverage.Coverage(config_file=str(ROOT / "setup.cfg"))
    data.combine()
    data.save()
    files = [str(ROOT.joinpath(*module.split(".")).with_suffix(".py")) for module in PURE]
    data.json_report(include=files, outfile=str(REPORT))
    by_file = json.loads(REPORT.read_text("utf-8"))["files"]
    return {
        Path(name).with_suffix("").as_posix().replace("/", "."): found["summary"]
        for name, found in by_file.items()
    }


def percent(summaries: list[dict[str, Any]]) -> float:
    """Return the percentage of lines and branches that ran: ``97.3``."""
    total = sum(found["num_statements"] + found["num_branches"] for found in summaries)
    ran = sum(found["covered_lines"] + found["covered_branches"] for found in summaries)
    return float(100 * ran / total)


def main() -> int:
    """Print the report; return the exit code."""
    found = measured()
    below = [f"not imported by any unit test: {name}" for name in PURE if name not in found]
    for name, summary in sorted(found.items(), key=lambda one: one[1]["percent_covered"]):
        if summary["percent_covered"] < FLOOR_PERCENT:
            below.append(f"{summary['percent_covered']:5.1f} % {name}")
    total = percent(list(found.values()))
    print(f"pure modules: the unit tests cover {total:.1f} % of lines and branches")
    if below:
        print(f"below {FLOOR_PERCENT:g} %:", *below, sep="\n  ")
    return int(total < FLOOR_PERCENT or set(PURE) != set(found))


if __name__ == "__main__":
    sys.exit(main())
