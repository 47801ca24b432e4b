"""What belongs to one captured table: ``[tables."shop.users"]`` of ``cdc.toml``.

Pure.  `cdc.settings` reads the sources; this module says what a section may hold and makes
`TableSettings` of it, with what flags and environment say of every table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cdc.setting import Problems, Values, nearest
from cdc.table import Model

MODELS: tuple[Model, ...] = ("string", "hash")

TABLE_HELP = {
    "key": "Template of the Redis key, such as 'user:{id}' (default '{table}:{pk}').",
    "value": "The one column that becomes the value (default: the row as a JSON object).",
    "as": "What the key holds: string, or hash with a field for each column.",
}
"""Name -> help, of all that ``[tables."shop.users"]`` knows."""

TABLE_SHARED = ("key", "value", "as")
"""Those that are also ``--key`` and ``CDC_KEY``, for every table."""

_KINDS: dict[str, type] = dict.fromkeys(TABLE_HELP, str)
_KIND_NAMES = {
    str: "a text in quotes",
    bool: "true or false",
    int: "a whole number",
    list: "a list in brackets",
    dict: "a table in braces",
}

Sections = dict[str, dict[str, Any]]
"""Table -> what its section says, each value of the kind that it has to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSettings:
    """One captured table as the user named it: ``[tables."shop.users"]``."""

    name: str
    key: str | None = None
    value: str | None = None
    model: Model = "string"


def sections_of(where: str, tables: object, problems: Problems) -> Sections:
    """Return the file's ``tables``: a list of names, or sections.

    Args:
        where: the file, for what is said of it.
    """
    if isinstance(tables, list) and all(isinstance(name, str) for name in tables):
        return {name: {} for name in tables}
    if not isinstance(tables, dict):
        problems.add(f"{where}: tables", 'must be sections such as [tables."shop.users"]')
        return {}
    out: Sections = {}
    for table, about in tables.items():
        if not isinstance(about, dict):
            problems.add(f"{where}: tables", f"must be a section: [tables.{table!r}]")
            continue
        out[table] = {}
        for name, value in about.items():
            place = f"{where}: tables.{table}"
            if name not in TABLE_HELP and isinstance(value, dict):
                problems.add(place, f'needs quotes around the name: [tables."{table}.{name}"]')
            elif name not in TABLE_HELP:
                problems.add(place, f"has an unknown setting {name!r}{nearest(name, TABLE_HELP)}")
            elif type(value) is not _KINDS[name]:
                problems.add(f"{place}.{name}", f"must be {_KIND_NAMES[_KINDS[name]]}")
            else:
                out[table][name] = value
    return out


def tables_of(
    sections: Sections, values: Values, problems: Problems, *, database: str
) -> tuple[TableSettings, ...]:
    """Return the tables, each with what its section, the environment and the flags say.

    Args:
        values: all settings that were said, of which those named in `TABLE_SHARED` count here.
        database: of the MySQL URL, the schema of names without one; may be empty.
    """
    where, names = values.get("tables", ("tables", tuple(sections)))
    names = tuple(names)
    full = {_qualified(name, database): about for name, about in sections.items()}
    if len({_qualified(name, database) for name in names}) < len(names):
        problems.add(where, "name a table twice")
    shared = {name: values[name] for name in TABLE_SHARED if name in values}
    if "key" in shared and len(names) > 1 and "{table}" not in shared["key"][1]:
        problems.add(
            shared["key"][0], "is for every table, so with several it must contain {table}"
        )
    if "as" in shared and shared["as"][1] not in MODELS:
        where, word = shared.pop("as")
        problems.add(where, f"must be string or hash, not {word!r}{nearest(word, MODELS)}")
    out = []
    for name in names:
        about = full.get(_qualified(name, database), {})
        about = about | {key: value for key, (_, value) in shared.items()}
        at = shared.get("as", shared.get("value", (f"tables.{name}", None)))[0]
        out.append(_table(name, about, at, problems))
    return tuple(out)


def _qualified(name: str, database: str) -> str:
    return f"{database}.{name}" if database and "." not in name else name


def _table(name: str, about: Mapping[str, Any], where: str, problems: Problems) -> TableSettings:
    model: Model = "string"
    for known in MODELS:
        if about.get("as") == known:
            model = known
    if about.get("as", model) != model:
        hint = nearest(about["as"], MODELS)
        problems.add(where, f"as must be string or hash, not {about['as']!r}{hint}")
    if model == "hash" and "value" in about:
        problems.add(where, f"table {name}: value names one column, as = hash takes all; keep one")
    return TableSettings(name=name, key=about.get("key"), value=about.get("value"), model=model)
