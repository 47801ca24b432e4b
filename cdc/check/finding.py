"""What a look at a server found: one thing each, with its reason and its fix.

Pure.  `cdc.check.servers` collects findings of all three servers; `cdc run` refuses to start on one
that stops, and ``cdc check`` prints all of them.  `cdc.check.reasons` has why each matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cdc.check.estimate import TableSize
from cdc.check.reasons import REASONS
from cdc.errors import CdcError, PreflightError
from cdc.table import Table

NOTHING_WRITTEN = "nothing was written"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """What fixes a finding: each part complete in itself, the first that fits is enough.

    ``Fix(sql=("SET PERSIST binlog_format = 'ROW';",), advice="then let applications connect")``
    """

    sql: tuple[str, ...] = ()
    """Statements for MySQL or MariaDB, each with its semicolon."""
    is_invasive: bool = False
    """The SQL changes a table or ends a transaction: ``--fix-sql`` writes it as a comment."""
    command: str = ""
    """A line for a shell: ``redis-cli -h 127.0.0.1 -p 6379 CONFIG SET appendonly yes``."""
    file: tuple[str, str] | None = None
    """A configuration file and the lines that belong there; its server is restarted then."""
    advice: str = ""
    """What neither can, or what else is to be done."""
    managed: tuple[tuple[str, str], ...] = ()
    """The same for managed servers: ``(("RDS", "CALL mysql.rds_…;"), …)``."""

    def text(self) -> str:
        """Return all but the managed forms, as lines."""
        lines = [*self.sql]
        if self.command:
            lines.append(self.command)
        if self.file:
            name, content = self.file
            lines += [f"in {name}, then restart the server:", *_indented(content)]
        if self.advice:
            lines.append(self.advice)
        return "\n".join(lines)


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something about a server that breaks the guarantees, or may.

    ``Finding(id="mysql.binlog-format", seen="MySQL: binlog_format = MIXED", fix=Fix(…))``
    """

    id: str
    """``<server>.<what>``, stable; a key of `cdc.check.reasons.REASONS`."""
    seen: str
    fix: Fix = Fix()
    stops: bool = True
    """False: only a warning."""
    kind: type[CdcError] = PreflightError
    """What `error` becomes; its exit code is that of ``cdc run``."""
    table: str = ""
    """``shop.users``, where it is about one table."""

    @property
    def severity(self) -> str:
        """``error`` or ``warning``."""
        return "error" if self.stops else "warning"

    @property
    def why(self) -> str:
        """Why it matters."""
        return REASONS[self.id]

    def sentence(self) -> str:
        """Return what was seen and why it matters, in one sentence."""
        return f"{self.seen}; {self.why}" if self.why else self.seen

    def error(self) -> CdcError:
        """Return the finding as an error."""
        return self.kind(self.sentence(), safe=NOTHING_WRITTEN, fix=self.fix.text())


def of_error(id: str, error: CdcError, table: str = "") -> Finding:
    """Return an error that a question ended with as a finding."""
    return Finding(id=id, seen=error.seen, fix=Fix(advice=error.fix), kind=type(error), table=table)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A table that only a pattern matches, and that cannot be captured."""

    table: str
    """``shop.users``."""
    pattern: str
    """``shop.*``."""
    why: str
    """One sentence, which names the table."""


@dataclass(slots=True, kw_only=True)
class Report:
    """Everything that the checks of the servers found."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What could not be checked, and other remarks."""
    servers: dict[str, str] = field(default_factory=dict)
    """``{"mysql": "MySQL 9.7.4 at 127.0.0.1:3306", …}``; those that answered."""
    tables: tuple[Table, ...] = ()
    left_out: list[LeftOut] = field(default_factory=list)
    sizes: dict[str, TableSize] = field(default_factory=dict)
    """By qualified name."""
    max_payload_bytes: int = 0
    """Of NATS; 0: it did not answer."""
    stream_room_bytes: int | None = None
    """What the stream may still take; None: NATS reports no limit."""
    redis_room_bytes: int | None = None
    """What Redis may still take; None: Redis reports no limit."""

    redis_used_bytes: int = 0

    @property
    def errors(self) -> list[Finding]:
        """Those that stop."""
        return [finding for finding in self.findings if finding.stops]

    @property
    def warnings(self) -> list[Finding]:
        """Those that are only warnings."""
        return [finding for finding in self.findings if not finding.stops]


def together(errors: Sequence[CdcError]) -> CdcError:
    """Return several errors as one, of the first one's class.

    >>> from cdc.errors import UsageError
    >>> print(together([UsageError("no table a", fix="b?"), PreflightError("no binlog")]).text())
    error: 2 problems
      1. no table a
         fix:  b?
      2. no binlog
      data: nothing was written
    """
    if len(errors) == 1:
        return errors[0]
    lines = [f"{len(errors)} problems"]
    for number, error in enumerate(errors, 1):
        alone = type(error)(error.seen, fix=error.fix).text().removeprefix("error: ")
        first, *rest = alone.split("\n")
        lines += [f"  {number}. {first}", *(f"   {line}" for line in rest)]
    return type(errors[0])("\n".join(lines), safe=NOTHING_WRITTEN)
