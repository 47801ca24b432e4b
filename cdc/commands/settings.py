"""``cdc settings``: all settings by group, with default, unit, flag, variable and current value."""

from __future__ import annotations

import json
from typing import Any

import click

from cdc.commands.options import Argument, WithSettings, completing, json_option, loaded
from cdc.errors import UsageError
from cdc.setting_groups import lines, listed, names

EXAMPLES = """\
  cdc settings
  cdc settings stream                  one group, and settings with that in their name
  cdc settings CDC_HEARTBEAT_S
  cdc settings --config cdc.toml
  cdc settings --json | jq -r '.[].variable'
"""
ABOUT = """\
List all settings by group: default, unit, flag, environment variable, and one line of help.

A setting that is not at its default is shown with its current value, as flags, environment
and settings file give it.  Passwords are never printed.  No server is connected to.
"""


def settings_command() -> click.Command:
    """Return the command."""
    own: list[click.Parameter] = [
        Argument(
            ["word"],
            required=False,
            metavar="[NAME]",
            about="A group, or a setting or part of its name.",
            shell_complete=completing(names()),
        ),
        json_option(),
    ]
    return WithSettings(
        "settings",
        EXAMPLES,
        own,
        callback=_settings,
        help=ABOUT,
        short_help="List all settings.",
    )


def _settings(
    word: str | None, as_json: bool, config: str | None, debug: bool, **flags: Any
) -> None:
    settings = loaded(config, debug, flags)
    try:
        found = listed(settings, word or "")
    except LookupError as error:
        raise UsageError(str(error.args[0]), fix="cdc settings lists all of them") from None
    if as_json:
        click.echo(json.dumps([one.about() for one in found], ensure_ascii=False))
    else:
        click.echo("\n".join(lines(found)))
