"""``cdc run --dry-run``: what a run would do, as far as is known without writing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from cdc.settings import Settings

SHOWN_MESSAGES = 5
WIDTH = 160
"""Maximum length of a message or command that is printed, in characters."""


def run(settings: Settings, role: str, *, as_json: bool) -> int:
    """Check, try, and print what a run would do; return the exit code.

    Raises:
        CdcError: a server does not answer.
    """
    import asyncio

    from cdc.check import report as check_report
    from cdc.check import servers

    report = asyncio.run(servers.ask(settings, role, thorough=True))
    code = check_report.exit_code(report, strict=False)
    about: dict[str, Any] = {"check": check_report.as_json(report, strict=False), "dry_run": None}
    if not code and role == "both":
        about["dry_run"] = asyncio.run(_dry_run(settings, report.tables))
    if as_json:
        click.echo(json.dumps(about))
        return code
    click.echo(check_report.as_text(report))
    if about["dry_run"]:
        click.echo("\n".join(_lines(about["dry_run"])))
    click.echo("dry run: nothing was written")
    return code


async def _dry_run(settings: Settings, tables: Sequence[Any]) -> dict[str, Any]:
    from cdc_reader.queries import dry_run as reader
    from redis_sink.queries import dry_run as sink

    read = await reader.dry_run(settings, tables)
    planned = await sink.dry_run(settings, tables, read.messages)
    shown = [*read.messages[: read.changes][-SHOWN_MESSAGES:], *read.messages[read.changes :]]
    return {
        "binlog_bytes": read.log_bytes,
        "changes": read.changes,
        "rows": read.rows,
        "notes": read.notes,
        "messages": [
            {"subject": f"{settings.subject_prefix}.{op}", "body": body.decode()}
            for op, body in shown[: 2 * SHOWN_MESSAGES]
        ],
        **planned,
    }


def _lines(about: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield (
        f"the last few minutes of the binlog: {about['changes']:,} changes; "
        f"{about['rows']:,} rows of the tables"
    )
    yield from (f"! {note}" for note in about["notes"])
    yield "messages that would be published, for example"
    for message in about["messages"]:
        yield "  " + _short(f"{message['subject']}  {message['body']}")
    counted = ", ".join(f"{n:,} {verb}" for verb, n in about["commands"].items())
    yield f"Redis commands: {counted or 'none'}; for example"
    for command in about["examples"]:
        yield "  " + _short(" ".join(command))
    for letter in about["quarantined"]:
        yield f"! would become a dead letter: {letter['key'] or '-'}: {letter['reason']}"
    redis = about["redis"]
    if "error" in redis:
        yield f"! not compared with Redis: {redis['error']}"
        return
    yield (
        f"compared with Redis now: {redis['same']:,} same, {redis['other']:,} different, "
        f"{redis['missing']:,} missing, {redis['surplus']:,} to be removed"
    )
    for word, keys in redis["keys"].items():
        if keys:
            yield f"  {word}: {', '.join(keys)}"


def _short(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
