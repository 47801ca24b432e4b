"""The command ``cdc``.  Heavy libraries are loaded by the commands that need them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cdc.errors import CdcError, UsageError
from cdc.setting import Spec, nearest
from cdc.settings import MODELS, SPECS, TABLE_HELP
from cdc.url import Url

ROLES = ("both", "reader", "sink")
INTERRUPTED = 130
_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

RUN_EXAMPLES = """\
  cdc run --table your_table
  cdc run --table shop.users --table shop.orders --mysql mysql://cdc@db.example/shop
  cdc run --table your_table --key '{your_key}' --value your_column
  cdc run --config cdc.toml
"""
EXAMPLES = """\
  cdc demo                       see it work, on servers of its own
  cdc run --table your_table     keep Redis right
  cdc run --help                 all that can be set
"""


class _Group(click.Group):
    """A group that says which command was meant, and shows examples first."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(f"no command {args[0]!r}{nearest(args[0], self.commands)}", ctx)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what it is, examples, then the rest."""
        _examples_first(self, EXAMPLES, formatter)
        super().format_help(ctx, formatter)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write nothing: the text stands at the top already."""


class _Run(click.Command):
    """``cdc run``: examples first, what is rarely touched last."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what it is, examples, then the rest."""
        _examples_first(self, RUN_EXAMPLES, formatter)
        super().format_help(ctx, formatter)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write nothing: the text stands at the top already."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in two parts."""
        parts: dict[str, list[tuple[str, str]]] = {"Options": [], "Tuning": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            spec = SPECS.get(param.name or "")
            if record:
                parts["Tuning" if spec and spec.tuning else "Options"].append(record)
        for title, records in parts.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _examples_first(command: click.Command, examples: str, formatter: click.HelpFormatter) -> None:
    formatter.write(f"{command.help}\n\n{examples}\n")


@click.group(cls=_Group, context_settings=_HELP, invoke_without_command=True)
@click.option("--version", is_flag=True, help="Print the version.")
@click.pass_context
def cli(ctx: click.Context, version: bool) -> None:
    """Follows the MySQL binlog and keeps Redis right, through NATS JetStream."""
    if version:
        _print_version()
        ctx.exit()
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@cli.command("version")
def version_command() -> None:
    """Print the version."""
    _print_version()


def _print_version() -> None:
    from importlib.metadata import version

    from cdc.compiled import PACKAGES, native

    compiled = all(native(package) for package in PACKAGES)
    click.echo(f"cdc {version('binlog-cdc')} ({'compiled' if compiled else 'pure Python, slower'})")


@cli.command("demo")
@click.option("--keep", is_flag=True, help="Stay until Ctrl-C, and print the URLs.")
def demo_command(keep: bool) -> None:
    """Show the main job on real servers, then leave."""
    from cdc.demo.show import run

    raise click.exceptions.Exit(run(keep=keep))


def _run(role: str, config: str | None, debug: bool, **flags: Any) -> None:
    from cdc import preflight, supervisor
    from cdc import role as roles
    from cdc.settings import load
    from cdc.telemetry import setup

    if debug:
        os.environ[roles.DEBUG] = "1"
    settings = load(flags, os.environ, Path(config) if config else None)
    log = setup(settings, "cdc" if role == "both" else role)
    with contextlib.ExitStack() as stack:
        companions = []
        if settings.nats.scheme == "embedded":
            settings, nats = _embedded(settings, role, stack)
            companions.append(nats.keep(log))
        tables = preflight.check(settings, role, log)
        jobs = [job for job in supervisor.jobs(settings) if role in ("both", job.role)]
        if len(jobs) > 1:
            code = supervisor.supervise(jobs, tables, log, companions)
        else:
            code = roles.run_here(jobs[0], tables, log)
    raise click.exceptions.Exit(code)


def _embedded(settings: Any, role: str, stack: contextlib.ExitStack) -> tuple[Any, Any]:
    from dataclasses import replace

    from cdc.embedded import EmbeddedNats

    if role != "both":
        raise UsageError(
            f"--role {role} cannot start the embedded NATS, which lives with both roles",
            remedy="start nats-server -js by itself and give its address: --nats nats://HOST:4222",
        )
    nats = stack.enter_context(EmbeddedNats(Path(settings.nats.database)))
    return replace(settings, nats=nats.url), nats


def _option(spec: Spec) -> click.Option:
    about = spec.help
    if spec.kind is bool:
        if spec.default:
            about = f"Do not: {about[0].lower()}{about[1:]}"
        return click.Option(
            [spec.name, spec.flag], flag_value=not spec.default, default=None, help=about, type=bool
        )
    return click.Option(
        [spec.name, spec.flag], metavar=_metavar(spec), help=f"{about} [{spec.default}]"
    )


def _metavar(spec: Spec) -> str:
    if spec.kind is Url:
        return "URL"
    if isinstance(spec.kind, tuple):
        return "|".join(spec.kind)
    if spec.unit:
        return {"s": "SECONDS"}.get(spec.unit, spec.unit.upper())
    return "TEXT" if spec.kind is str else "NUMBER"


def _run_command() -> click.Command:
    tables = [
        click.Option(
            ["tables", "--table"],
            multiple=True,
            metavar="TABLE",
            help="A table to follow: table or schema.table; may be given several times.",
        ),
        click.Option(["key", "--key"], metavar="TEMPLATE", help=TABLE_HELP["key"]),
        click.Option(["value", "--value"], metavar="COLUMN", help=TABLE_HELP["value"]),
        click.Option(["as", "--as"], metavar="|".join(MODELS), help=TABLE_HELP["as"]),
        click.Option(
            ["role", "--role"],
            type=click.Choice(ROLES),
            default="both",
            help="Which half runs here [both].",
        ),
        click.Option(
            ["config", "--config"], metavar="FILE", help="Settings file [$CDC_CONFIG, ./cdc.toml]."
        ),
        click.Option(
            ["debug", "--debug"], is_flag=True, help="Show the trace of an unexpected error."
        ),
    ]
    return _Run(
        "run",
        params=[*tables, *map(_option, SPECS.values())],
        callback=_run,
        help="Publish every committed change of the tables on NATS and keep Redis right.",
        context_settings=_HELP,
    )


cli.add_command(_run_command())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; every error ends as one text and an exit code."""
    code = _ended(arguments)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    # At once: threads may still wait for a server that is gone.
    os._exit(code)


def _ended(arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(arguments, prog_name="cdc", standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        return _say(_usage(error))
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except CdcError as error:
        return _say(error)
    except Exception as error:  # noqa: BLE001 - a bug is told in one text too
        from cdc.role import in_words

        return _say(in_words(error))
    return code if isinstance(code, int) else 0


def _usage(error: click.ClickException) -> UsageError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "cdc"
    seen = error.format_message()
    return UsageError(seen[:1].lower() + seen[1:].rstrip("."), remedy=f"{path} --help")


def _say(error: CdcError) -> int:
    from cdc.url import redact

    with contextlib.suppress(OSError):
        click.echo(redact(error.text()), err=True)
    return error.exit_code
