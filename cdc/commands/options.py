"""What commands share: settings as flags, help that begins with examples, the start."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cdc.errors import UsageError
from cdc.setting import Program, Spec, nearest
from cdc.setting_groups import EXCLUDE_HELP, SHOWN, TABLES_HELP, grouped
from cdc.settings import SPECS
from cdc.table_settings import MODELS, TABLE_HELP, TABLE_SHARED
from cdc.url import Url

if TYPE_CHECKING:
    from cdc.process.embedded import EmbeddedNats
    from cdc.settings import Settings
    from cdc.telemetry import Log

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class ExamplesFirst(click.Command):
    """A command whose help is: what it does, examples, its options, the settings that it uses."""

    def __init__(self, *arguments: Any, examples: str = "", **attributes: Any) -> None:
        self.examples = examples
        super().__init__(*arguments, **attributes)
        self.context_settings = {**HELP, **self.context_settings}

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what it is, examples, then the rest."""
        about = (self.help or "").rstrip()
        formatter.write(f"{about}\n\nExamples:\n{self.examples.rstrip()}\n\n")
        super().format_help(ctx, formatter)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write nothing: the text is at the top."""


class Group(ExamplesFirst, click.Group):
    """A group that names the command that was meant, and shows examples first."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        is_unknown = args and not args[0].startswith("-") and not self.get_command(ctx, args[0])
        if is_unknown and not ctx.resilient_parsing:  # which shell completion does
            raise click.UsageError(f"no command {args[0]!r}{nearest(args[0], self.commands)}", ctx)
        return super().resolve_command(ctx, args)


class WithSettings(ExamplesFirst):
    """A command that takes all settings as flags, and shows those that `SHOWN` has for it."""

    def __init__(
        self,
        name: str,
        examples: str,
        own: Sequence[click.Parameter] = (),
        *,
        of: str = "",
        **attributes: Any,
    ) -> None:
        """Make the command.

        Args:
            of: the group that it is in, ``dead``.
        """
        self.shown = SHOWN[f"{of} {name}".strip()]
        settings = [*_table_options(), *map(_option, SPECS.values())]
        for option in settings:
            option.hidden = option.name not in self.shown
        params = [*own, *_general_options(), *settings]
        super().__init__(name, examples=examples, params=params, **attributes)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write its own options, the settings that it uses, and where all of them are."""
        params = self.get_params(ctx)
        _section(ctx, formatter, "Options", [p for p in params if p.name not in _SETTINGS])
        by_name = {param.name: param for param in params}
        for title, names in grouped(self.shown).items():
            _section(ctx, formatter, title, [by_name[name] for name in names])
        if self.shown:
            formatter.write("\nAll settings: cdc settings\n")


class Argument(click.Argument):
    """An argument that the help explains."""

    def __init__(self, *arguments: Any, about: str, **attributes: Any) -> None:
        self.about = about
        super().__init__(*arguments, **attributes)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """Return its name and what it is."""
        return self.make_metavar(ctx), self.about


_SETTINGS = ("tables", "exclude_tables", *TABLE_SHARED, *SPECS)


def _section(
    ctx: click.Context, formatter: click.HelpFormatter, title: str, params: list[click.Parameter]
) -> None:
    records = [record for param in params if (record := param.get_help_record(ctx))]
    if records:
        with formatter.section(title):
            formatter.write_dl(records)


@contextlib.contextmanager
def prepared(
    config: str | None,
    debug: bool,
    role: str,
    flags: dict[str, Any],
    *,
    joins: bool = True,
    known: tuple[Settings, Log] | None = None,
) -> Iterator[tuple[Settings, Log, list[Coroutine[Any, Any, None]]]]:
    """Load the settings, begin the log, start an embedded NATS and its watcher.

    Args:
        joins: use the embedded NATS of a running `cdc run`.
        known: what `settled` returned before, not to be loaded again.
    """
    settings, log = known or settled(config, debug, role, flags)
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
    """Return the settings with the address of a running embedded NATS."""
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
    from cdc.settings import settings_file
    from cdc.telemetry import setup

    settings = loaded(config, debug, flags)
    given = Path(config) if config else None
    log = setup(settings, "cdc" if role == "both" else role)
    for seen, fix in exposed(settings, flags, settings_file(os.environ, given)):
        log.warning(seen, fix=fix)
    return settings, log


def loaded(config: str | None, debug: bool, flags: dict[str, Any]) -> Settings:
    """Load the settings, and remember whether tracebacks are wanted."""
    from cdc.process.role import DEBUG
    from cdc.settings import load

    if debug:
        os.environ[DEBUG] = "1"
    return load(flags, os.environ, Path(config) if config else None)


def _embedded(
    settings: Settings, role: str, stack: contextlib.ExitStack
) -> tuple[Settings, EmbeddedNats]:
    from dataclasses import replace

    from cdc.process.embedded import EmbeddedNats

    if role != "both":
        raise UsageError(
            f"--role {role} cannot start the embedded NATS, which needs both roles",
            fix="start nats-server -js separately and give its address: --nats nats://HOST:4222",
        )
    nats = stack.enter_context(EmbeddedNats(Path(settings.nats.database)))
    return replace(settings, nats=nats.url), nats


def _option(spec: Spec) -> click.Option:
    if spec.kind is bool:
        return click.Option(
            [spec.name, spec.flag],
            flag_value=not spec.default,
            default=None,
            help=spec.flag_help,
            type=bool,
        )
    return click.Option(
        [spec.name, spec.flag],
        metavar=_metavar(spec),
        help=f"{spec.help} [{spec.default}]",
        shell_complete=completing(spec.kind) if isinstance(spec.kind, tuple) else None,
    )


def json_option(help: str = "Print JSON.") -> click.Option:
    """Return ``--json``, whose value is ``as_json``."""
    return click.Option(["as_json", "--json"], is_flag=True, help=help)


def completing(words: Iterable[str]) -> Any:
    """Return what completes these words in a shell, as click calls it.

    A value that is none of them is refused later, in words of our own.
    """

    def complete(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[str]:
        return [word for word in words if word.startswith(begun)]

    return complete


def _metavar(spec: Spec) -> str:
    if spec.kind is Url:
        return "URL"
    if spec.kind is Program:
        return "COMMAND"
    if isinstance(spec.kind, tuple):
        return "|".join(spec.kind)
    if spec.unit:
        return {"s": "SECONDS"}.get(spec.unit, spec.unit.upper())
    return "TEXT" if spec.kind is str else "NUMBER"


def _table_options() -> list[click.Option]:
    return [
        click.Option(["tables", "--table"], multiple=True, metavar="TABLE", help=TABLES_HELP),
        click.Option(
            ["exclude_tables", "--exclude-table"],
            multiple=True,
            metavar="TABLE",
            help=EXCLUDE_HELP,
        ),
        click.Option(["key", "--key"], metavar="TEMPLATE", help=TABLE_HELP["key"]),
        click.Option(["value", "--value"], metavar="COLUMN", help=TABLE_HELP["value"]),
        click.Option(
            ["as", "--as"],
            metavar="|".join(MODELS),
            help=TABLE_HELP["as"],
            shell_complete=completing(MODELS),
        ),
    ]


def _general_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["config", "--config"],
            type=click.Path(),
            metavar="FILE",
            help="Settings file [$CDC_CONFIG, ./cdc.toml].",
        ),
        click.Option(
            ["debug", "--debug"], is_flag=True, help="Show the traceback of an unexpected error."
        ),
    ]
