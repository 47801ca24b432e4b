"""``cdc wait``: return when a transaction is visible in Redis (read your writes)."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from cdc.commands.options import WithSettings, json_option, settled
from cdc.settings import Settings

EXAMPLES = """\
  cdc wait --gtid 7271e0ec-e705-11f1-8850-02fc00000001:8003
  cdc wait --gtid 0-1-100 --timeout 5          MariaDB
  cdc wait                                     everything committed so far
"""
ABOUT = """\
Return when a transaction is visible in Redis: exit code 0; 1 on timeout.

The answer is exact: all rows of the transaction are in Redis, in every partition.  A transaction
that changed no captured table becomes visible with the next heartbeat.  An application can do
the same in a few lines: docs/read-your-writes.md.

Give it the settings of cdc run.  It needs only Redis, and MySQL if no --gtid is given.
"""
NOT_SHOWN = 1


def wait_command() -> click.Command:
    """Return the command."""
    own = [
        click.Option(
            ["gtid", "--gtid"],
            metavar="GTID",
            help="A transaction, or a GTID set [everything MySQL has committed].",
        ),
        click.Option(
            ["timeout_s", "--timeout"],
            type=click.FloatRange(0),
            default=10.0,
            metavar="SECONDS",
            help="Timeout; 0: check once [10].",
        ),
        json_option(),
    ]
    return WithSettings(
        "wait",
        EXAMPLES,
        own,
        callback=_wait,
        help=ABOUT,
        short_help="Return when a transaction is visible in Redis.",
    )


def _wait(
    gtid: str | None,
    timeout_s: float,
    as_json: bool,
    config: str | None,
    debug: bool,
    **flags: Any,
) -> None:
    settings, _ = settled(config, debug, "both", flags)
    is_shown = run(settings, gtid, timeout_s, as_json=as_json)
    raise click.exceptions.Exit(0 if is_shown else NOT_SHOWN)


def run(settings: Settings, gtid: str | None, timeout_s: float, *, as_json: bool) -> bool:
    """Wait, print the outcome, and return whether the transaction is visible in Redis.

    Raises:
        CdcError: it is not a GTID, or a server refuses.
    """
    import asyncio

    from cdc_reader.queries.status import executed
    from redis_sink.queries.wait import until_shown

    began_s = time.monotonic()
    gtid = executed(settings) if gtid is None else gtid
    shown, positions = asyncio.run(until_shown(settings, gtid, timeout_s))
    waited_s = round(time.monotonic() - began_s, 3)
    sets = [None if position is None else position.gtid_set for position in positions]
    if as_json:
        about = {"shown": shown, "gtid": gtid, "waited_s": waited_s, "redis_gtid_sets": sets}
        click.echo(json.dumps(about))
    elif not shown:
        has = "; ".join("nothing yet" if of is None else of or "nothing yet" for of in sets)
        click.echo(f"timeout: not visible in Redis after {timeout_s:g} s: {gtid}", err=True)
        click.echo(f"  Redis has: {has}", err=True)
        click.echo("  next: cdc status shows which side lags", err=True)
    return bool(shown)
