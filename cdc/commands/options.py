"""What commands share: their settings as flags, help that begins with examples, the start."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cdc.errors import UsageError
from cdc.setting import Spec, nearest
from cdc.settings import SPECS
from cdc.table_settings import MODELS, TABLE_HELP
from cdc.url import Url

if TYPE_CHECKING:
    from cdc.process.embedded import EmbeddedNats
    from cdc.settings import Settings
    from cdc.telemetry import Log

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Group(click.Group):
    """A group that says which command was meant, and shows examples first."""

    def __init__(self, *arguments: Any, examples: str = "", **attributes: Any) -> None:
        self.examples = examples
        super().__init__(*arguments, **attributes)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(f"no command {args[0]!r}{nearest(args[0], self.commands)}", ctx)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what it is, examples, then the rest."""
        _examples_first(self, self.examples, formatter)
        super().format_help(ctx, formatter)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write nothing: the text stands at the top already."""


class WithSettings(click.Command):
    """A command with all settings: examples first, what is rarely touched last."""

    def __init__(
        self, name: str, examples: str, own: Sequence[click.Parameter] = (), **attributes: Any
    ) -> None:
        self.examples = examples
        params = [*_table_options(), *own, *_general_options(), *map(_option, SPECS.values())]
        super().__init__(name, params=params, context_settings=HELP, **attributes)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what it is, examples, then the rest."""
        _examples_first(self, self.examples, formatter)
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


@contextlib.contextmanager
def prepared(
    config: str | None, debug: bool, role: str, flags: dict[str, Any], *, joins: bool = True
) -> Iterator[tuple[Any, Any, list[Any]]]:
    """Load the settings, begin the log, start an embedded NATS and what keeps it.

    Args:
        joins: the embedded NATS of a `cdc run` that is running is used.
    """
    settings, log = settled(config, debug, role, flags)
    with contextlib.ExitStack() as stack:
        companions = []
        if joins:
            settings = joined(settings)
        if settings.nats.scheme == "embedded":
            settings, nats = _embedded(settings, role, stack)
            keeping = nats.keep(log)
            stack.callback(keeping.close)  # most commands do not run it
            companions.append(keeping)
        yield settings, log, companions


def joined(settings: Settings) -> Settings:
    """Return the settings with the address of an embedded NATS that is running."""
    if settings.nats.scheme != "embedded":
        return settings
    from dataclasses import replace

    from cdc.process.embedded import running

    url = running(Path(settings.nats.database))
    return settings if url is None else replace(settings, nats=url)


def settled(
    config: str | None, debug: bool, role: str, flags: dict[str, Any]
) -> tuple[Settings, Log]:
    """Load the settings and begin the log; for a command that starts nothing."""
    from cdc.check.exposed import exposed
    from cdc.process import role as roles
    from cdc.settings import load, settings_file
    from cdc.telemetry import setup

    if debug:
        os.environ[roles.DEBUG] = "1"
    given = Path(config) if config else None
    settings = load(flags, os.environ, given)
    log = setup(settings, "cdc" if role == "both" else role)
    for seen, fix in exposed(settings, flags, settings_file(os.environ, given)):
        log.warning(seen, fix=fix)
    return settings, log


def _embedded(
    settings: Settings, role: str, stack: contextlib.ExitStack
) -> tuple[Settings, EmbeddedNats]:
    from dataclasses import replace

    from cdc.process.embedded import EmbeddedNats

    if role != "both":
        raise UsageError(
            f"--role {role} cannot start the embedded NATS, which lives with both roles",
            fix="start nats-server -js by itself and give its address: --nats nats://HOST:4222",
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


def _table_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["tables", "--table"],
            multiple=True,
            metavar="TABLE",
            help="A table to follow: table or schema.table; may be given several times.",
        ),
        click.Option(["key", "--key"], metavar="TEMPLATE", help=TABLE_HELP["key"]),
        click.Option(["value", "--value"], metavar="COLUMN", help=TABLE_HELP["value"]),
        click.Option(["as", "--as"], metavar="|".join(MODELS), help=TABLE_HELP["as"]),
    ]


def _general_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["config", "--config"], metavar="FILE", help="Settings file [$CDC_CONFIG, ./cdc.toml]."
        ),
        click.Option(
            ["debug", "--debug"], is_flag=True, help="Show the trace of an unexpected error."
        ),
    ]
