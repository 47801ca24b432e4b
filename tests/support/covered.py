"""``python -m tests.support.covered``: what the unit tests cover of the pure modules.

Reads what ``coverage run`` left in ``build/coverage``.  Prints lines and branches of all of them
together and of each module below the floor; ends with 1 where all of them are below it.
"""

from __future__ import annotations

import json
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import coverage

from tests.unit.test_architecture import PURE

FLOOR_PERCENT = 95.0
"""Of lines and branches of the pure modules together."""
ROOT = Path(__file__).parents[2]
REPORT = ROOT / "build/coverage/report.json"


def measured() -> dict[str, dict[str, Any]]:
    """Return what was measured by module: ``{"cdc.key": {"percent_covered": 98.2, …}}``.

    Raises:
        coverage.exceptions.NoDataError: nothing was measured.
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
    """Return the share of lines and branches that ran: ``97.3``."""
    wanted = sum(found["num_statements"] + found["num_branches"] for found in summaries)
    ran = sum(found["covered_lines"] + found["covered_branches"] for found in summaries)
    return float(100 * ran / wanted)


def main() -> int:
    """Print the report; return the exit code."""
    found = measured()
    out = StringIO()
    for module in sorted(set(PURE) - set(found)):
        print(f"  not imported by any unit test: {module}", file=out)
    for module, summary in sorted(found.items(), key=lambda one: one[1]["percent_covered"]):
        if summary["percent_covered"] < FLOOR_PERCENT:
            print(f"  {summary['percent_covered']:5.1f} % {module}", file=out)
    total = percent(list(found.values()))
    print(f"pure modules: {total:.1f} % of lines and branches run in unit tests", end="")
    print(f", at least {FLOOR_PERCENT:g} % are wanted; below that:" if out.getvalue() else "")
    print(out.getvalue(), end="")
    return int(total < FLOOR_PERCENT or set(PURE) != set(found))


if __name__ == "__main__":
    sys.exit(main())
