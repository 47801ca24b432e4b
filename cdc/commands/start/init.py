"""``cdc init``: write a settings file with every table of a database."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from cdc.commands.options import WithSettings, json_option
from cdc.errors import UsageError
from cdc.settings import Settings
from cdc.table_settings import TableSettings

EXAMPLES = """\
  cdc init --mysql mysql://cdc@db.example/shop
  cdc init --table 'shop.*' --exclude-table 'shop.tmp_*' --output shop.toml
  cdc init --output -                  print it, write nothing
  cdc init --force                     overwrite a file that exists
  cdc init --json | jq '.tables[] | select(.state != "captured")'
"""
ABOUT = """\
Look at the tables of a database and write a commented cdc.toml that captures them.

Each table that can be captured gets a section.  One without a key is a comment, with the
statement that gives it one and the columns to choose from.  Views, and what cannot be carried,
are comments with the reason.  The rights that the login needs are there as GRANTs.

It needs only MySQL and changes nothing there.  All databases that the login sees are looked at,
or that of the URL, or what --table names.  Other flags of cdc run are written into the file; no
password is.  Edit the file, then:  cdc check
"""
DEFAULT_FILE = "cdc.toml"
STDOUT = "-"


def init_command() -> click.Command:
    """Return the command."""
    own: list[click.Parameter] = [
        click.Option(
            ["output", "--output"],
            metavar="FILE",
            help="File to write; -: stdout [$CDC_CONFIG, ./cdc.toml].",
        ),
        click.Option(["force", "--force"], is_flag=True, help="Overwrite a file that exists."),
        json_option("Print JSON about what was written."),
    ]
    return WithSettings(
        "init",
        EXAMPLES,
        own,
        callback=_init,
        help=ABOUT,
        short_help="Write a cdc.toml with every table of a database.",
    )


def _init(
    output: str | None, force: bool, as_json: bool, config: str | None, debug: bool, **flags: Any
) -> None:
    if config is not None:
        raise UsageError("cdc init reads no settings file", fix=f"cdc init --output {config}")
    output = output or os.environ.get("CDC_CONFIG") or DEFAULT_FILE
    if as_json and output == STDOUT:
        raise UsageError("--json and --output - are two outputs; keep one")
    if output != STDOUT and not force and Path(output).exists():
        raise _exists(output)
    settings = _settings(debug, flags)
    run(settings, output, force=force, as_json=as_json)


def _settings(debug: bool, flags: dict[str, Any]) -> Settings:
    """Load flags and environment, and look at all tables where none is named."""
    from cdc.check.exposed import exposed
    from cdc.process.role import DEBUG
    from cdc.settings import load
    from cdc.telemetry import setup

    if debug:
        os.environ[DEBUG] = "1"
    settings = load(flags, os.environ, reads_file=False)
    log = setup(settings, "cdc")
    for seen, fix in exposed(settings, flags, None):
        log.warning(seen, fix=fix)
    if settings.tables:
        return settings
    every = TableSettings(
        name="*" if settings.mysql.database else "*.*",
        is_pattern=True,
        key=flags.get("key"),
        value=flags.get("value"),
        model="hash" if flags.get("as") == "hash" else "string",
    )
    return replace(settings, tables=(every,))


def run(settings: Settings, output: str, *, force: bool, as_json: bool) -> None:
    """Look at the tables, write the file, and print what is in it.

    Raises:
        UsageError: the file exists or cannot be written, or no table is seen.
        CdcError: MySQL refuses, or does not answer.
    """
    from cdc.init.proposal import as_json as about
    from cdc.init.settings_file import settings_file
    from cdc_reader.queries.inventory import inventory

    found = inventory(settings)
    text = settings_file(found, settings)
    if output == STDOUT:
        sys.stdout.write(text)
        return
    _write(Path(output), text, force=force)
    if as_json:
        click.echo(json.dumps(about(found, output), ensure_ascii=False))
        return
    click.echo(f"wrote {output}: {found.counted()}")
    click.echo("  next: read it, then  cdc check" + _config(output))


def _config(output: str) -> str:
    is_found = output in (DEFAULT_FILE, os.environ.get("CDC_CONFIG"))
    return "" if is_found else f" --config {output}"


def _write(path: Path, text: str, *, force: bool) -> None:
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise _exists(str(path)) from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", fix="another file: --output FILE"
        ) from None


def _exists(path: str) -> UsageError:
    return UsageError(
        f"{path} exists already",
        safe="it was not changed",
        fix="cdc init --force overwrites it; --output FILE writes another; --output - prints it",
    )
