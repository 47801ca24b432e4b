"""What a look at a server found: one thing each, with its mend; and many errors as one.

Pure.  Findings are for `cdc.preflight`, which says all of them at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cdc.errors import CdcError, PreflightError

NOTHING_WRITTEN = "nothing was written"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something about a server that breaks the promise, or may.

    ``Finding(seen="MySQL: binlog_format = MIXED", remedy="SET PERSIST binlog_format = 'ROW';")``
    """

    seen: str
    remedy: str = ""
    stops: bool = True
    """False: only said, in a warning."""
    kind: type[CdcError] = PreflightError
    """What `error` becomes; its exit code is the command's."""

    def error(self) -> CdcError:
        """Return the finding as an error."""
        return self.kind(self.seen, safe=NOTHING_WRITTEN, remedy=self.remedy)


def together(errors: Sequence[CdcError]) -> CdcError:
    """Return several errors as one, of the first one's class.

    >>> from cdc.errors import UsageError
    >>> print(together([UsageError("no table a", remedy="b?"), PreflightError("no binlog")]).text())
    error: 2 problems
      1. no table a
         next: b?
      2. no binlog
      data: nothing was written
    """
    if len(errors) == 1:
        return errors[0]
    lines = [f"{len(errors)} problems"]
    for number, error in enumerate(errors, 1):
        alone = type(error)(error.seen, remedy=error.remedy).text().removeprefix("error: ")
        first, *rest = alone.split("\n")
        lines += [f"  {number}. {first}", *(f"   {line}" for line in rest)]
    return type(errors[0])("\n".join(lines), safe=NOTHING_WRITTEN)
