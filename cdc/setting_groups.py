"""Which settings belong together, which of them a command's help shows, and their list.

Pure.  `cdc.settings` has the settings themselves, and `cdc settings` prints the list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdc.setting import Spec, nearest
from cdc.settings import SPECS, Settings
from cdc.table_settings import TABLE_HELP, TABLE_SHARED

GROUPS: dict[str, tuple[str, ...]] = {
    "servers": (
        "mysql",
        "nats",
        "redis",
        "mysql_password_command",
        "nats_password_command",
        "redis_password_command",
    ),
    "tables": ("tables", "exclude_tables", "new_tables_every_s"),
    "pipeline": ("pipeline", "stream", "subject_prefix", "partitions", "sinks"),
    "behaviour": (
        "snapshot",
        "adopt",
        "bare_messages",
        "on_schema_change",
        "on_set_aside",
        "cascades",
        "on_gap",
    ),
    "stream": ("stream_max_bytes", "stream_max_age_s", "stream_keep_s", "stream_replicas"),
    "reader": (
        "server_id",
        "heartbeat_s",
        "heartbeat_idle_s",
        "heartbeat_early_bytes",
        "flush_max_messages",
        "flush_max_bytes",
        "max_row_bytes",
    ),
    "sink": ("batch_max_messages",),
    "snapshot": (
        "snapshot_chunk_rows",
        "snapshot_chunk_ms",
        "snapshot_rows_per_s",
        "snapshot_max_lag_messages",
        "snapshot_max_memory_percent",
    ),
    "verify": ("verify_every_s", "verify_rows_per_s"),
    "log": ("report_every_s", "log_format", "log_level"),
}
"""Group -> its settings.  Settings of one table are a group of their own, `PER_TABLE`."""

PER_TABLE = '[tables."shop.users"]'
TABLES_HELP = "Table to capture: table, schema.table or a pattern, 'shop.*'; repeat it for more."
EXCLUDE_HELP = "Table not to capture, or a pattern of them; repeat it for more."

_TABLE = ("tables", *TABLE_SHARED)
_TABLES = ("tables", "exclude_tables", *TABLE_SHARED)
_STREAM = ("pipeline", "stream", "subject_prefix", "partitions")
SHOWN: dict[str, tuple[str, ...]] = {
    "run": (*_TABLES, *SPECS),
    "init": ("mysql", "nats", "redis", "tables", "exclude_tables"),
    "check": ("mysql", "nats", "redis", *_TABLES, *_STREAM, "adopt"),
    "refresh": ("mysql", "nats", *_TABLE, *_STREAM),
    "snapshot": ("mysql", "nats", *_TABLE, *_STREAM),
    "dead list": ("nats", "pipeline"),
    "dead show": ("nats", "pipeline"),
    "dead retry": ("mysql", "nats", *_TABLE, *_STREAM),
    "dead drop": ("nats", "pipeline"),
    "status": ("mysql", "nats", "redis", "tables", *_STREAM),
    "tail": ("mysql", *_TABLE, "server_id"),
    "wait": ("redis", "mysql", "pipeline", "partitions"),
    "verify": ("mysql", "nats", "redis", *_TABLE, "pipeline", "stream"),
    "purge": ("redis", "nats", *_TABLE, "pipeline", "stream", "partitions"),
    "settings": (),
}
"""Command -> the settings that its help shows.  It accepts the others too, as flags."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A setting in the list of ``cdc settings``."""

    group: str
    name: str
    default: str
    unit: str
    current: str | None
    """What is set, where it is not the default; a URL without its password."""
    variable: str | None
    flag: str | None
    help: str

    def about(self) -> dict[str, str | None]:
        """Return what ``--json`` prints of it."""
        return {
            "group": self.group,
            "name": self.name,
            "default": self.default,
            "unit": self.unit or None,
            "current": self.current,
            "variable": self.variable,
            "flag": self.flag,
            "help": self.help,
        }


def listed(settings: Settings, word: str = "") -> list[Listed]:
    """Return the settings, those of one group or whose names contain a word.

    ``listed(settings, "heartbeat")`` are the three that begin with it.

    Raises:
        LookupError: no name contains it; the text names the nearest.
    """
    every = [*_of_pipeline(settings), *_of_a_table()]
    if not word:
        return every
    wanted = _plain(word)
    found = [
        one
        for one in every
        if wanted in one.name
        or wanted in (one.group, _plain(one.flag or ""), _plain(one.variable or ""))
    ]
    if not found:
        raise LookupError(f"no setting {word!r}{nearest(wanted, names())}")
    return found


def _plain(word: str) -> str:
    """Return a name as ``cdc.toml`` has it, of a flag or variable too.

    >>> _plain("--stream-keep-s"), _plain("CDC_STREAM_KEEP_S")
    ('stream_keep_s', 'stream_keep_s')
    """
    return word.lower().replace("-", "_").lstrip("_").removeprefix("cdc_")


def names() -> list[str]:
    """Return what ``cdc settings`` takes: groups, then settings."""
    return list(dict.fromkeys((*GROUPS, "table", "exclude_tables", *SPECS, *TABLE_HELP)))


def lines(found: Sequence[Listed]) -> Iterator[str]:
    """Yield the list for people: a heading for each group, two lines for each setting.

    ``  heartbeat_s   1.0 s   --heartbeat-s   CDC_HEARTBEAT_S``
    """
    rows = {one: _cells(one) for one in found}
    widths = [max(len(cells[n]) for cells in rows.values()) for n in range(3)]
    group = ""
    for one, cells in rows.items():
        if one.group != group:
            if group:
                yield ""
            group = one.group
            yield f"{PER_TABLE}  settings of one table" if group == "table" else group
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
        yield ("  " + "  ".join([*padded, cells[3]])).rstrip()
        if one.current is not None:
            yield f"      now: {one.current}"
        yield f"      {one.help}"


def _cells(one: Listed) -> tuple[str, str, str, str]:
    default = f"{one.default} {one.unit}".strip() or "-"
    return one.name, default, one.flag or "", one.variable or ""


def _of_pipeline(settings: Settings) -> Iterator[Listed]:
    for group, members in GROUPS.items():
        for name in members:
            if name in SPECS:
                yield _one(group, SPECS[name], settings)
            else:
                yield _tables(settings) if name == "tables" else _excluded(settings)


def _one(group: str, spec: Spec, settings: Settings) -> Listed:
    value = getattr(settings, spec.name)
    choices = f" One of {', '.join(spec.kind)}." if isinstance(spec.kind, tuple) else ""
    return Listed(
        group=group,
        name=spec.name,
        default=spec.default_text,
        unit=spec.unit,
        current=None if value == spec.default else _text(value),
        variable=spec.env,
        flag=spec.flag,
        help=spec.help + choices,
    )


def _text(value: Any) -> str:
    """Return a value as ``cdc.toml`` writes it.

    >>> _text(True), _text("MYSQL"), _text(5)
    ('true', '"MYSQL"', '5')
    """
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else f'"{value}"'


def _tables(settings: Settings) -> Listed:
    return Listed(
        group="tables",
        name="tables",
        default="",
        unit="",
        current=", ".join(table.name for table in settings.tables) or None,
        variable="CDC_TABLES",
        flag="--table",
        help=f"{TABLES_HELP} In cdc.toml one section each, {PER_TABLE}.",
    )


def _excluded(settings: Settings) -> Listed:
    return Listed(
        group="tables",
        name="exclude_tables",
        default="",
        unit="",
        current=", ".join(settings.exclude_tables) or None,
        variable="CDC_EXCLUDE_TABLES",
        flag="--exclude-table",
        help=f"{EXCLUDE_HELP} In cdc.toml a list.",
    )


def _of_a_table() -> Iterator[Listed]:
    for name, about in TABLE_HELP.items():
        shared = name in TABLE_SHARED
        yield Listed(
            group="table",
            name=name,
            default="",
            unit="s" if name.endswith("_s") else "",
            current=None,
            variable=f"CDC_{name.upper()}" if shared else None,
            flag=f"--{name}" if shared else None,
            help=about,
        )


def grouped(shown: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Return the settings that a help shows under its headings.

    ``cdc run`` shows each group; a command that uses few has them under one heading.
    """
    if set(shown) < {*SPECS, *_TABLES}:
        return {"Connection and tables": tuple(shown)}
    titles = {name.capitalize(): members for name, members in GROUPS.items()}
    return titles | {"Tables": (*_TABLES, "new_tables_every_s")}
