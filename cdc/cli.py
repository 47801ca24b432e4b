"""The command ``cdc``.  Heavy libraries are loaded by the commands that need them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence

import click

from cdc.commands.completion import COMPLETING, completion_command
from cdc.commands.dead import dead_command
from cdc.commands.options import ExamplesFirst, Group
from cdc.commands.purge import purge_command
from cdc.commands.refresh import refresh_command
from cdc.commands.settings import settings_command
from cdc.commands.snapshot import snapshot_command
from cdc.commands.start.check import check_command
from cdc.commands.start.init import init_command
from cdc.commands.start.run import run_command
from cdc.commands.status import status_command
from cdc.commands.tail import tail_command
from cdc.commands.verify import verify_command
from cdc.commands.wait import wait_command
from cdc.errors import CdcError, UsageError
from cdc.output import discard_stdout, hold_standard_descriptors, write

INTERRUPTED = 130
OUTPUT_CLOSED = 128 + signal.SIGPIPE

EXAMPLES = """\
  cdc demo                       see it work, against servers of its own
  cdc init                       write a cdc.toml with every table of a database
  cdc check --table your_table   check all three servers; changes nothing
  cdc run --table your_table     keep Redis in sync
  cdc verify --table your_table  compare MySQL with Redis
  cdc refresh                    after exit code 65: read the tables again and resume
  cdc snapshot --table users     read existing rows again, all or a range of keys
  cdc dead list                  messages that could not be applied, with the reason
  cdc status                     positions, lag, rows by table, the last error
  cdc tail --table your_table    print changes as they happen; needs only MySQL
  cdc wait --gtid GTID           return when a transaction is visible in Redis
  cdc settings                   all settings
"""
DEMO = """\
Run a demo against real servers, then exit.

It starts MySQL, NATS and Redis of its own, changes rows in MySQL, and prints each change
on its way to Redis.  Your own servers are not touched.
"""
DEMO_EXAMPLES = """\
  cdc demo
  cdc demo --keep      keep it running, to try your own statements
"""


@click.group(cls=Group, examples=EXAMPLES, invoke_without_command=True)
@click.option("--version", is_flag=True, help="Print the version.")
@click.pass_context
def cli(ctx: click.Context, version: bool) -> None:
    """Replicate MySQL tables to Redis, from the binlog through NATS JetStream."""
    if version:
        _print_version()
        ctx.exit()
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@cli.command("version", cls=ExamplesFirst, examples="  cdc version\n")
def version_command() -> None:
    """Print the version."""
    _print_version()


def _print_version() -> None:
    from importlib.metadata import version

    from cdc.compiled import PACKAGES, native

    compiled = all(native(package) for package in PACKAGES)
    click.echo(f"cdc {version('binlog-cdc')} ({'compiled' if compiled else 'pure Python, slower'})")


@cli.command(
    "demo",
    cls=ExamplesFirst,
    examples=DEMO_EXAMPLES,
    help=DEMO,
    short_help="Run a demo against real servers, then exit.",
)
@click.option("--keep", is_flag=True, help="Keep it running until Ctrl-C, and print the URLs.")
def demo_command(keep: bool) -> None:
    """Run the demo."""
    from cdc.demo.show import run

    raise click.exceptions.Exit(run(keep=keep))


cli.add_command(run_command())
cli.add_command(init_command())
cli.add_command(check_command())
cli.add_command(refresh_command())
cli.add_command(snapshot_command())
cli.add_command(dead_command())
cli.add_command(status_command())
cli.add_command(tail_command())
cli.add_command(wait_command())
cli.add_command(verify_command())
cli.add_command(purge_command())
cli.add_command(settings_command())
cli.add_command(completion_command())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; every error becomes one text and an exit code."""
    hold_standard_descriptors()
    code = _ended(arguments)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    # Immediately: threads may still wait for a server that is gone.
    os._exit(code)


def _ended(arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(arguments, prog_name="cdc", standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        return _report(_usage(error))
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except CdcError as error:
        return _report(error)
    except SystemExit as end:
        if COMPLETING in os.environ and not end.code:  # how click ends shell completion
            return 0
        # click exits on EPIPE: the reader of our stdout has closed it.
        discard_stdout()
        return OUTPUT_CLOSED
    except Exception as error:  # noqa: BLE001 - a bug becomes one text too
        from cdc.process.role import in_words

        return _report(in_words(error))
    return code if isinstance(code, int) else 0


def _usage(error: click.ClickException) -> UsageError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "cdc"
    seen = error.format_message()
    return UsageError(seen[:1].lower() + seen[1:].rstrip("."), fix=f"{path} --help")


def _report(error: CdcError) -> int:
    from cdc.url import redact

    write(sys.stderr, redact(error.text()) + "\n")
    return error.exit_code
