"""``cdc verify``: compare MySQL with Redis, while both are live."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cdc.commands.options import WithSettings, json_option, prepared
from cdc.commands.refresh import chosen
from cdc.settings import Settings

if TYPE_CHECKING:
    from cdc.telemetry import Log

DIFFERENT = 1
EXAMPLES = """\
  cdc verify --table shop.users
  cdc verify --config cdc.toml --only orders --show-values
  cdc verify --table shop.users --sample 5          a random 5 % of it
  cdc verify --table shop.users --repair            repair what differs
"""
ABOUT = """\
Compare every row of MySQL with Redis, exactly, while both are live.

It uses an independent implementation of reading and formatting, so it also finds bugs of the
pipeline.  A difference is checked again once the sink has applied everything that MySQL had
committed, and counts only if it persists: the key is missing, stale, of the wrong type, or an
orphan, which matches the table's template but belongs to no row.

Nothing is locked, and no data of yours is written without --repair.  After an interruption
(Ctrl-C, kill) the next run resumes.  Exit code 0: equal; 1: different, or a table is set aside
and cannot be compared; 69: the sink stalled.

Give it the flags and settings of cdc run.
"""


def verify_command() -> click.Command:
    """Return the command."""
    own: list[click.Parameter] = [
        click.Option(
            ["only", "--only"],
            multiple=True,
            metavar="TABLE",
            help="Verify only this captured table; repeat it for more.",
        ),
        click.Option(
            ["sample", "--sample"],
            type=click.FloatRange(0, 100, min_open=True),
            default=100.0,
            metavar="PERCENT",
            help="Verify a random sample of the rows and keys [100].",
        ),
        click.Option(
            ["seed", "--seed"],
            type=click.IntRange(0),
            metavar="NUMBER",
            help="Seed of the sample, to verify an earlier one again; it is printed.",
        ),
        click.Option(
            ["repair", "--repair"],
            is_flag=True,
            help="Read tables that differ again through the stream, then compare once more.",
        ),
        click.Option(
            ["restart", "--restart"],
            is_flag=True,
            help="Start from the beginning; do not resume an interrupted run.",
        ),
        click.Option(
            ["with_values", "--show-values"],
            is_flag=True,
            help="Show the values of keys that differ, in MySQL and in Redis.",
        ),
        click.Option(
            ["wait_s", "--wait"],
            type=click.FloatRange(1),
            default=60.0,
            metavar="SECONDS",
            help="Timeout while the sink makes no progress [60].",
        ),
        json_option(),
    ]
    return WithSettings(
        "verify",
        EXAMPLES,
        own,
        callback=_verify,
        help=ABOUT,
        short_help="Compare MySQL with Redis exactly, while both are live.",
    )


def _verify(config: str | None, debug: bool, **flags: Any) -> None:
    names = ("only", "sample", "seed", "repair", "restart", "with_values", "wait_s", "as_json")
    own = {name: flags.pop(name) for name in names}
    if flags.get("log_level") is None:
        flags["log_level"] = "warning"  # the progress line shows the rest
    with prepared(config, debug, "both", flags) as (settings, log, _):
        code = run(settings, log, **own)
    raise click.exceptions.Exit(code)


def run(
    settings: Settings,
    log: Log,
    *,
    only: Sequence[str],
    as_json: bool,
    repair: bool,
    seed: int | None,
    sample: float,
    with_values: bool,
    **wish: Any,
) -> int:
    """Verify, print what was found, and return 0 if all is equal, else `DIFFERENT`.

    Raises:
        CdcError: a table is not captured, or a server refuses or does not answer.
    """
    import asyncio

    from cdc.check import servers
    from cdc.status.progress import Progress
    from cdc_reader.snapshot.announcement import is_done
    from cdc_reader.snapshot.refresh import announce
    from cdc_verify.once import verify
    from cdc_verify.repair import RowReading

    tables, lost = asyncio.run(servers.tables_and_lost(settings))
    wanted = chosen(only, tables) or list(tables)
    seed = random.randrange(1 << 32) if seed is None else seed
    if sample < 100:
        click.echo(f"a sample of {sample:g} %, chosen by --seed {seed}", err=True)
    reports = asyncio.run(
        verify(
            settings,
            tables,
            wanted,
            lost=lost,
            repair=RowReading(announce, is_done) if repair else None,
            shown=Progress,
            log=log,
            seed=seed,
            sample=sample,
            with_values=with_values,
            chunk_max_rows=settings.snapshot_chunk_rows,
            rows_per_s=settings.verify_rows_per_s,
            **wish,
        )
    )
    equal = all(report.equal for report in reports)
    if as_json:
        about = [report.about(with_values=with_values) for report in reports]
        click.echo(json.dumps({"equal": equal, "tables": about}, ensure_ascii=False))
    else:
        for report in reports:
            for line in report.lines(with_values=with_values):
                click.echo(line)
    return 0 if equal else DIFFERENT
