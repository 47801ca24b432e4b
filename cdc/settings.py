"""All settings, with types, units and help, and where their values come from.

Order of precedence: flag, environment, ``cdc.toml``, default.  `load` reports all problems
together.  Secrets are in `Url`, which hides them, or read at each connection: `SecretSource`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cdc.mask import KEY_MIN_BYTES, MaskKey
from cdc.setting import (
    Problems,
    Program,
    Spec,
    Values,
    file_to_read_again,
    nearest,
    refuse_of_others,
    setting,
    specs_of,
    text_or_file,
)
from cdc.table_settings import (
    TABLE_SHARED,
    Sections,
    TableSettings,
    check_excluded,
    patterned_sections,
    sections_of,
    tables_of,
)
from cdc.url import SecretSource, Url

_NAME = "[A-Za-z0-9_-]{1,64}"
_SUBJECT = r"[A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that ``cdc run`` needs to know; each field's help is in its metadata."""

    mysql: Url = setting(  # noqa: RUF009 - a Url is frozen
        "mysql://root@127.0.0.1:3306",
        "MySQL or MariaDB to replicate from; its database is the default schema.",
        schemes=("mysql",),
    )
    nats: Url = setting(  # noqa: RUF009 - a Url is frozen
        "nats://127.0.0.1:4222",
        "NATS with JetStream; embedded:DIR starts one that stores its data in DIR.",
        schemes=("nats", "tls", "embedded"),
    )
    redis: Url = setting(  # noqa: RUF009 - a Url is frozen
        "redis://127.0.0.1:6379/0", "Redis to keep in sync.", schemes=("redis", "rediss")
    )
    mysql_password_command: Program = setting(  # noqa: RUF009 - a tuple is frozen
        Program(), "Program that prints the password of MySQL; run at each connection, no shell."
    )
    nats_password_command: Program = setting(  # noqa: RUF009 - a tuple is frozen
        Program(),
        "Program that prints the password of NATS, or the token where the URL has no user.",
    )
    redis_password_command: Program = setting(  # noqa: RUF009 - a tuple is frozen
        Program(), "Program that prints the password of Redis; run at each connection, no shell."
    )
    tables: tuple[TableSettings, ...] = ()
    """What is captured: tables, and patterns of them."""
    sections: tuple[TableSettings, ...] = ()
    """All sections of ``cdc.toml``, where a pattern is among them or among `tables`."""
    exclude_tables: tuple[str, ...] = ()
    """Names and patterns of tables that are not captured."""
    mask_key: MaskKey | None = None
    """Of ``mask = {column = "hash"}``; from ``CDC_MASK_KEY`` or ``CDC_MASK_KEY_FILE`` only."""
    pipeline: str = setting(
        "default",
        "Pipeline name; part of the position's key in Redis and of the dead-letter subject.",
        pattern=_NAME,
    )
    stream: str = setting("MYSQL", "Name of the JetStream stream.", pattern=_NAME)
    subject_prefix: str = setting(
        "mysql", "Prefix of the subjects: mysql.update, mysql.insert, …", pattern=_SUBJECT
    )
    partitions: int = setting(
        1, "Number of partitions; keys are spread across them.", low=1, high=64
    )
    sinks: int = setting(
        1,
        "Number of sink processes that share the partitions; at most one per partition.",
        low=1,
        high=64,
    )
    stream_max_bytes: int = setting(
        0, "Maximum size of the stream; 0: as much as the account allows.", unit="bytes", low=0
    )
    stream_max_age_s: int = setting(
        0, "Maximum age of messages; 0: kept until stream_max_bytes.", unit="s", low=0
    )
    stream_keep_s: int = setting(
        86_400,
        "How long to keep messages that every sink has applied; 0: never remove them.",
        unit="s",
        low=0,
    )
    stream_replicas: int = setting(1, "Replicas of the stream in a NATS cluster.", low=1, high=5)
    snapshot: bool = setting(
        True,
        "Publish the existing rows of a table when it is first captured.",
        off_help="Skip the initial snapshot.",
    )
    adopt: bool = setting(
        False, "Take over Redis keys that exist before the pipeline's first start."
    )
    bare_messages: Literal["apply", "quarantine"] = setting(
        "apply", "What to do with a bare {key, value} published by an application."
    )
    on_schema_change: Literal["refresh", "stop", "continue"] = setting(
        "refresh", "What to do on TRUNCATE, DROP, RENAME or ALTER of a captured table."
    )
    on_set_aside: Literal["keep", "remove"] = setting(
        "keep", "What to do with the keys of a table that cannot be captured any more."
    )
    cascades: Literal["follow", "warn"] = setting(
        "follow", "What to do on foreign-key cascades that are in no binlog."
    )
    on_gap: Literal["refresh", "stop"] = setting(
        "refresh", "What to do when changes are missing: refresh, or stop with exit code 65."
    )
    new_tables_every_s: float = setting(
        15.0,
        "How often to look for new tables that patterns match; 0: only at a start.",
        unit="s",
        low=0,
        high=86_400,
    )
    server_id: int = setting(
        0,
        "Replica server ID, which must be unique; 0: random, above 2^31.",
        low=0,
        high=2**32 - 1,
    )
    heartbeat_s: float = setting(
        1.0, "How often to store the position while there are changes.", unit="s", low=0.1, high=60
    )
    heartbeat_idle_s: float = setting(
        5.0,
        "How often to store the position while there are no changes.",
        unit="s",
        low=0.1,
        high=600,
    )
    heartbeat_early_bytes: int = setting(
        4_000,
        "Bytes per second of positions stored early for a faster cdc wait; 0: none.",
        unit="bytes",
        low=0,
        high=10_000_000,
    )
    flush_max_messages: int = setting(
        1000,
        "Maximum number of messages published at once.",
        unit="messages",
        low=1,
        high=100_000,
    )
    flush_max_bytes: int = setting(
        1_000_000, "Maximum bytes published at once.", unit="bytes", low=1024, high=64_000_000
    )
    max_row_bytes: int = setting(
        67_108_864,
        "Maximum size of a row's message; a larger row becomes a dead letter.",
        unit="bytes",
        low=1024,
        high=402_653_184,
    )
    batch_max_messages: int = setting(
        2000,
        "Maximum number of messages in one Redis transaction.",
        unit="messages",
        low=1,
        high=100_000,
    )
    snapshot_chunk_rows: int = setting(
        5000, "Maximum rows in one SELECT of the snapshot.", unit="rows", low=1, high=1_000_000
    )
    snapshot_chunk_ms: int = setting(
        50,
        "Target duration of one SELECT of the snapshot; chunks shrink when it takes longer.",
        unit="ms",
        low=1,
        high=60_000,
    )
    snapshot_rows_per_s: int = setting(
        0, "Maximum rows per second of the snapshot; 0: no limit.", unit="rows", low=0
    )
    snapshot_max_lag_messages: int = setting(
        20_000,
        "Pause the snapshot while a sink lags by more messages than this; 0: never.",
        unit="messages",
        low=0,
    )
    snapshot_max_memory_percent: int = setting(
        90,
        "Pause the snapshot while Redis uses more of its maxmemory than this; 0: never.",
        unit="percent",
        low=0,
        high=100,
    )
    verify_every_s: float = setting(
        0.0,
        "How often cdc run verifies all tables, at a low rate; 0: never.",
        unit="s",
        low=0,
        high=31_536_000,
    )
    verify_rows_per_s: int = setting(
        0,
        "Maximum rows per second of verify; 0: no limit, or 2000 when inside cdc run.",
        unit="rows",
        low=0,
    )
    report_every_s: float = setting(
        10.0, "How often to log throughput and lag.", unit="s", low=0.1, high=86_400
    )
    log_format: Literal["auto", "human", "json"] = setting(
        "auto", "auto: text on a terminal, JSON lines otherwise."
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", "Minimum log level.")


SPECS: dict[str, Spec] = specs_of(Settings)
"""Name -> all about the setting; `tables` and the settings of one table are in `TABLE_HELP`."""

SERVERS = ("mysql", "nats", "redis")
_PASSWORDS = {f"CDC_{server.upper()}_PASSWORD": server for server in SERVERS}
_ENV: dict[str, str] = (
    {spec.env: name for name, spec in SPECS.items()}
    | {"CDC_TABLES": "tables", "CDC_EXCLUDE_TABLES": "exclude_tables"}
    | {f"CDC_{name.upper()}": name for name in TABLE_SHARED}
)
_LIST_FLAGS = {"tables": "--table", "exclude_tables": "--exclude-table"}
"""Settings that are lists, with the flag that gives one of its names."""
_MASK_KEY = "CDC_MASK_KEY"
_ENV_OF_OTHERS = ("CDC_CONFIG", "CDC_DEBUG", "CDC_PURE_PYTHON")
_ENV_OF_KUBERNETES = re.compile(
    "CDC_([A-Z0-9_]+_)?"
    "(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""What services named cdc and cdc-… put into every container of their namespace.

Source: Kubernetes documentation, "Service", "Environment variables".
"""


def load(
    flags: Mapping[str, Any],
    env: Mapping[str, str],
    toml_path: Path | None = None,
    *,
    reads_file: bool = True,
) -> Settings:
    """Return the settings that a command runs with.

    Args:
        flags: those given, ``{"tables": ("users",), "key": "{id}", "stream": "MYSQL"}``; texts,
            or booleans for switches; None counts as not given.
        env: the environment, ``os.environ``.
        toml_path: ``--config``; None: ``$CDC_CONFIG``, else ``./cdc.toml`` if it exists.
        reads_file: whether a settings file counts at all.

    Raises:
        UsageError: flags alone are wrong; all of them are named.
        SettingsError: the file or the environment is wrong too.
    """
    problems = Problems([], [])
    values: Values = {}
    path = _toml_path(env, toml_path, problems) if reads_file else None
    sections = _from_toml(path, values, problems)
    _from_env(env, values, problems)
    _from_flags(flags, values, problems)
    _passwords(env, values, problems)
    fields = {name: value for name, (_, value) in values.items() if name in SPECS}
    settings = Settings(**fields)
    if settings.sinks > settings.partitions:
        where, _ = values.get("sinks", ("--sinks", None))
        problems.add(where, f"must be at most partitions, which is {settings.partitions}")
    about: dict[str, Any] = {"database": settings.mysql.database, "partitions": settings.partitions}
    named = replace(
        settings,
        tables=tables_of(sections, values, problems, **about),
        sections=patterned_sections(sections, values, problems, **about),
        exclude_tables=values.get("exclude_tables", ("", ()))[1],
        mask_key=_mask_key(env, problems),
    )
    check_excluded(values, problems, database=settings.mysql.database)
    problems.raise_if_any()
    return named


def settings_file(env: Mapping[str, str], given: Path | None) -> Path | None:
    """Return the settings file that `load` reads; None without one."""
    found = _toml_path(env, given, Problems([], []))
    return found[1] if found else None


def _toml_path(
    env: Mapping[str, str], given: Path | None, problems: Problems
) -> tuple[str, Path] | None:
    if given is not None:
        where, path = "--config", given
    elif env.get("CDC_CONFIG"):
        where, path = "CDC_CONFIG", Path(env["CDC_CONFIG"])
    else:
        path = Path("cdc.toml")
        with contextlib.suppress(OSError):  # a working folder that we may not enter has none
            return ("cdc.toml", path) if path.is_file() else None
        return None
    try:
        if path.is_file():
            return str(path), path
        problems.add(where, f"names a file that does not exist: {path}")
    except OSError as error:
        problems.add(where, f"names a file that cannot be read: {path}: {error.strerror}")
    return None


def _from_toml(source: tuple[str, Path] | None, values: Values, problems: Problems) -> Sections:
    """Put the file's settings into `values`; return its tables."""
    if source is None:
        return {}
    # Only here: a start without a file is quicker without the parser.
    import tomllib

    where, path = source
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        problems.add(where, f"cannot be read: {error.strerror}")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        # Only the parser's message: the line itself may contain a password.
        problems.add(where, f"is not valid TOML: {error}")
        return {}
    sections = sections_of(where, content.pop("tables", {}), problems)
    excluded = content.pop("exclude_tables", [])
    if not isinstance(excluded, list) or not all(isinstance(name, str) for name in excluded):
        problems.add(f"{where}: exclude_tables", "must be a list of names or patterns in quotes")
    elif excluded:
        values["exclude_tables"] = (f"{where}: exclude_tables", tuple(excluded))
    for name, value in content.items():
        if name not in SPECS:
            near = nearest(name, [*SPECS, *_LIST_FLAGS])
            problems.add(where, f"has an unknown setting {name!r}{near}")
            continue
        try:
            values[name] = (f"{where}: {name}", SPECS[name].checked(value))
            if SPECS[name].kind is Program and value:
                refuse_of_others(path, is_found=where == "cdc.toml")
        except (ValueError, OSError) as error:
            problems.add(f"{where}: {name}", str(error))
    return sections


def _from_env(env: Mapping[str, str], values: Values, problems: Problems) -> None:
    with_file = {*_PASSWORDS, _MASK_KEY, *(SPECS[server].env for server in SERVERS)}
    twins = {f"{name}_FILE" for name in with_file}
    known = {*_ENV, *_PASSWORDS, _MASK_KEY, *twins, *_ENV_OF_OTHERS}
    for variable in sorted(env):
        is_ours = variable.startswith("CDC_") and not _ENV_OF_KUBERNETES.fullmatch(variable)
        if is_ours and variable not in known:
            problems.add(variable, f"is not a known variable{nearest(variable, known)}")
    for variable, name in _ENV.items():
        text = text_or_file(env, variable, problems) if variable in with_file else (
            env.get(variable)
        )  # fmt: skip
        if text is not None:
            _put(name, variable, text, values, problems)


def _from_flags(flags: Mapping[str, Any], values: Values, problems: Problems) -> None:
    for name, value in flags.items():
        if value is None or value == ():
            continue
        where = SPECS[name].flag if name in SPECS else _LIST_FLAGS.get(name, f"--{name}")
        if isinstance(value, bool):
            values[name] = (where, value)
        else:
            _put(name, where, value, values, problems)


def _put(name: str, where: str, text: Any, values: Values, problems: Problems) -> None:
    try:
        if name in _LIST_FLAGS:
            texts: Iterable[str] = text.split(",") if isinstance(text, str) else text
            values[name] = (where, tuple(t.strip() for t in texts if t.strip()))
        else:
            values[name] = (where, SPECS[name].from_text(text) if name in SPECS else text)
    except ValueError as error:
        problems.add(where, str(error))


def _passwords(env: Mapping[str, str], values: Values, problems: Problems) -> None:
    """Put passwords that came apart from their URL into it, or where they are."""
    for server in SERVERS:
        where, url = values.get(server, ("the default", SPECS[server].default))
        apart = list(_apart(env, server, values, problems))
        path = file_to_read_again(env, where) if where == SPECS[server].env else ""
        if path and url.secrets and not apart:
            url = url.with_secret(SecretSource(setting=f"{where}_FILE", file=path, holds_url=True))
        is_given = bool(url.password or url.secret or url.option("creds"))
        for named, found in apart:
            if is_given:
                problems.add(named, f"and {where} both give a password; keep one")
            where, is_given = named, True
            is_there = isinstance(found, SecretSource)
            url = url.with_secret(found) if is_there else url.with_password(found)
        values[server] = (where, url)


def _apart(
    env: Mapping[str, str], server: str, values: Values, problems: Problems
) -> Iterator[tuple[str, Any]]:
    """Yield passwords that are not in the URL: where each was named, and itself or its source."""
    variable = f"CDC_{server.upper()}_PASSWORD"
    password = text_or_file(env, variable, problems)
    if password is not None:
        path = file_to_read_again(env, variable)
        twin = f"{variable}_FILE"
        yield (twin, SecretSource(setting=twin, file=path)) if path else (variable, password)
    setting = f"{server}_password_command"
    if command := values.get(setting, ("", Program()))[1]:
        yield setting, SecretSource(setting=setting, command=command)


def _mask_key(env: Mapping[str, str], problems: Problems) -> MaskKey | None:
    """Return the secret of the masks; unlike a password, it is never read from a settings file."""
    text = text_or_file(env, _MASK_KEY, problems)
    if text is None:
        return None
    secret = text.encode()
    if len(secret) < KEY_MIN_BYTES:
        problems.add(
            _MASK_KEY,
            f"must have at least {KEY_MIN_BYTES} bytes: make one with openssl rand -hex 32",
        )
    return MaskKey(secret)
