"""What the checks of the servers found, as text for people, as JSON, and as SQL.

Pure.  The JSON's shape is a contract: docs/json-output.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cdc.check.estimate import bytes_text, seconds_text
from cdc.check.finding import Finding, Report

Paint = dict[str, str]
PLAIN: Paint = {"error": "", "warning": "", "fine": "", "end": ""}
COLOURED: Paint = {
    "error": "\x1b[31m",
    "warning": "\x1b[33m",
    "fine": "\x1b[32m",
    "end": "\x1b[0m",
}
_MARKS = {"error": "✗", "warning": "!"}
CANNOT_START, ONLY_WARNINGS = 3, 1


def exit_code(report: Report, *, strict: bool) -> int:
    """Return 0, 1 (warnings, where they count) or 3 (``cdc run`` would not start)."""
    if report.errors:
        return CANNOT_START
    return ONLY_WARNINGS if report.warnings and strict else 0


# -- for people ------------------------------------------------------------------------


def as_text(report: Report, paint: Paint = PLAIN) -> str:
    """Return lines for people: what is wrong first, each with its fix, then what is fine."""
    lines: list[str] = []
    for finding in (*report.errors, *report.warnings):
        lines += _finding(finding, paint)
    fine = f"{paint['fine']}✓{paint['end']}"
    lines += [f"{fine} {report.servers[name]}" for name in sorted(report.servers)]
    broken = {finding.table for finding in report.errors}
    lines += [f"{'·' if name in broken else fine} {line}" for name, line in _tables(report)]
    lines += [
        f"- not captured, only {one.pattern!r} matches it: {one.why}" for one in report.left_out
    ]
    lines += ["- " + note.replace("\n", "\n  ") for note in report.notes]
    lines.append(_summary(report))
    return "\n".join(lines)


def _finding(finding: Finding, paint: Paint) -> Iterator[str]:
    mark = f"{paint[finding.severity]}{_MARKS[finding.severity]}{paint['end']}"
    yield f"{mark} {finding.seen.replace(chr(10), chr(10) + '  ')}"
    yield f"    why:  {finding.why}  [{finding.id}]"
    head = "    fix:  "
    for line in finding.fix.text().splitlines():
        yield head + line
        head = "          "
    for where, what in finding.fix.managed:
        yield f"    {where}:  {what}"
    yield ""


def _tables(report: Report) -> Iterator[tuple[str, str]]:
    for name, size in report.sizes.items():
        about = "" if size.is_exact else "about "
        largest = ""
        if size.largest_bytes and report.max_payload_bytes:
            largest = f"; largest message {bytes_text(size.largest_bytes)}"
            largest += f" of {bytes_text(report.max_payload_bytes)}"
        yield (
            name,
            f"{name}: {about}{size.rows:,} rows, {bytes_text(size.size_bytes)}; "
            f"snapshot {seconds_text(size.snapshot_s)}, "
            f"Redis {bytes_text(size.redis_bytes)}, stream {bytes_text(size.stream_bytes)}"
            + largest,
        )
    for table in report.tables:
        if table.qualified not in report.sizes:
            yield table.qualified, table.qualified


def _summary(report: Report) -> str:
    errors, warnings = len(report.errors), len(report.warnings)
    counted = ", ".join(
        f"{number} {word}{'' if number == 1 else 's'}"
        for number, word in ((errors, "error"), (warnings, "warning"))
        if number
    )
    end = "cdc run would not start" if errors else "cdc run can start"
    return f"{counted}: {end}" if counted else f"no problems: {end}"


# -- for programs ----------------------------------------------------------------------


def as_json(report: Report, *, strict: bool) -> dict[str, Any]:
    """Return what ``--json`` prints; fields are only ever added."""
    return {
        "v": 1,
        "exit_code": exit_code(report, strict=strict),
        "errors": len(report.errors),
        "warnings": len(report.warnings),
        "servers": report.servers,
        "findings": [_finding_json(finding) for finding in report.findings],
        "tables": [
            {
                "table": name,
                "rows": size.rows,
                "rows_exact": size.is_exact,
                "mysql_bytes": size.size_bytes,
                "snapshot_s": round(size.snapshot_s, 3),
                "redis_bytes": size.redis_bytes,
                "stream_bytes": size.stream_bytes,
                "largest_message_bytes": size.largest_bytes,
            }
            for name, size in report.sizes.items()
        ],
        "not_captured": [
            {"table": one.table, "pattern": one.pattern, "why": one.why} for one in report.left_out
        ],
        "max_payload_bytes": report.max_payload_bytes,
        "notes": report.notes,
    }


def _finding_json(finding: Finding) -> dict[str, Any]:
    fix = finding.fix
    return {
        "id": finding.id,
        "severity": finding.severity,
        "table": finding.table or None,
        "seen": finding.seen,
        "why": finding.why,
        "fix": {
            "sql": list(fix.sql),
            "sql_is_invasive": fix.is_invasive,
            "command": fix.command or None,
            "file": {"name": fix.file[0], "lines": fix.file[1]} if fix.file else None,
            "advice": fix.advice or None,
            "managed": dict(fix.managed),
        },
    }


# -- for mysql -------------------------------------------------------------------------


def as_sql(report: Report) -> str:
    """Return what ``mysql`` can run as it is; everything else is a comment."""
    lines: list[str] = []
    for finding in (*report.errors, *report.warnings):
        lines += _comment(f"{finding.severity}: {finding.sentence()}  [{finding.id}]")
        fix = finding.fix
        if fix.sql and not fix.is_invasive:
            lines += fix.sql
        else:
            if fix.sql:
                lines.append("-- changes more than a setting; read it, then uncomment it:")
            lines += _comment(finding.fix.text())
        lines.append("")
    return "\n".join(lines).rstrip()


def _comment(text: str) -> list[str]:
    return [f"-- {line}" for line in text.splitlines()]
