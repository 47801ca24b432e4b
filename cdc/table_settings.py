"""What belongs to one captured table: ``[tables."shop.users"]`` of ``cdc.toml``.

Pure.  `cdc.settings` reads the sources; this module checks a section and turns it
into `TableSettings`, together with the flags and variables that apply to every table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from cdc.errors import UsageError
from cdc.mask import Mask, parse_mask
from cdc.setting import Problems, Values, nearest
from cdc.table import Mode, Model
from cdc.table_pattern import is_pattern, most_exact, parse_pattern, plain_name

MODELS: tuple[Model, ...] = ("string", "hash")
MODES: tuple[Mode, ...] = ("mirror", "cache")

TABLE_HELP = {
    "key": "Template of the Redis key, such as 'user:{id}' (default '{table}:{pk}').",
    "value": "Column to use as the value (default: the whole row as a JSON object).",
    "as": "Type of the Redis value: string, or hash with one field per column.",
    "field": "Template of a field: one hash per parent, with one field per row.",
    "columns": "Columns to include in the row's object, in this order (default: all).",
    "exclude": "Columns to leave out of the row's object.",
    "rename": "New names of columns in the row's object: column = 'name'.",
    "mask": "Columns to mask before publishing: column = 'hash', 'truncate:N' or 'drop'.",
    "index": "Sets and sorted sets of rows: {set = TEMPLATE} or {zset = TEMPLATE, score = COLUMN}.",
    "mode": "mirror: one key per row; cache: keys expire after ttl_s.",
    "ttl_s": "Seconds until a key expires after the last change of its row, with mode = 'cache'.",
}
"""Name -> help, of all that ``[tables."shop.users"]`` knows."""

TABLE_SHARED = ("key", "value", "as")
"""Those that are also ``--key`` and ``CDC_KEY``, for every table."""

_KINDS: dict[str, type] = dict.fromkeys(TABLE_HELP, str) | {
    "columns": list,
    "exclude": list,
    "rename": dict,
    "mask": dict,
    "index": list,
    "ttl_s": int,
}
_KIND_NAMES = {
    str: "a text in quotes",
    int: "a whole number",
    list: "a list in brackets",
    dict: "a table in braces",
}
_INDEX_KINDS: tuple[Literal["set", "zset"], ...] = ("set", "zset")
_INDEX_WORDS = (*_INDEX_KINDS, "score", "member")
TTL_MAX_S = 10 * 365 * 86_400

Sections = dict[str, dict[str, Any]]
"""Table -> its section, each value checked to be of its type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSettings:
    """One index of a table: ``{zset = "orders:by_user:{user_id}", score = "created_at"}``."""

    kind: Literal["set", "zset"]
    key: str
    score: str | None = None
    member: str | None = None
    """Template; None: the row's Redis key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSettings:
    """One captured table, or a pattern of them, as the user named it: ``[tables."shop.users"]``."""

    name: str
    """The table's name, without brackets that make its signs literal; or the pattern."""
    is_pattern: bool = False
    key: str | None = None
    value: str | None = None
    model: Model = "string"
    field: str | None = None
    columns: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    """Column and its name in the row's object."""
    mask: tuple[tuple[str, Mask], ...] = ()
    index: tuple[IndexSettings, ...] = ()
    mode: Mode = "mirror"
    ttl_s: int = 0


def sections_of(where: str, tables: object, problems: Problems) -> Sections:
    """Return the file's ``tables``: a list of names, or sections.

    Args:
        where: the file, for problems in it.
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
    sections: Sections, values: Values, problems: Problems, *, database: str, partitions: int = 1
) -> tuple[TableSettings, ...]:
    """Return the tables, each with its section, the environment and the flags applied.

    Args:
        values: all settings that were set; only those in `TABLE_SHARED` are used here.
        database: of the MySQL URL, the schema of names without one; may be empty.
    """
    where, names = values.get("tables", ("tables", tuple(sections)))
    names = tuple(names)
    _check_patterns(where, names, database, problems)
    full = {_qualified(name, database): about for name, about in sections.items()}
    for said in dict.fromkeys((*_doubles(names, database), *_doubles(tuple(sections), database))):
        problems.add(where, f"name a table twice: {said}; keep one")
    shared = _shared(values, problems)
    are_several = len(names) > 1 or any(map(is_pattern, names))
    if "key" in shared and are_several and "{table}" not in shared["key"][1]:
        problems.add(
            shared["key"][0], "is for every table, so with several it must contain {table}"
        )
    return tuple(
        _settled(name, full.get(_qualified(name, database), {}), shared, problems, partitions)
        for name in names
    )


def patterned_sections(
    sections: Sections, values: Values, problems: Problems, *, database: str, partitions: int = 1
) -> tuple[TableSettings, ...]:
    """Return all sections, of which a table that is found by a pattern gets one.

    Empty where no pattern is: each table's own section is all that is needed then.
    """
    _, names = values.get("tables", ("tables", tuple(sections)))
    if not any(map(is_pattern, (*names, *sections))):
        return ()
    others = tuple(name for name in sections if name not in names)
    _check_patterns("tables", others, database, problems)
    # What is captured is checked in `tables_of`.
    shared, checked = _shared(values, Problems([], [])), Problems([], [])
    return tuple(
        _settled(name, about, shared, problems if name in others else checked, partitions)
        for name, about in sections.items()
    )


class SectionsOfTables:
    """Which section a table gets: its own, else that of the most exact pattern."""

    def __init__(
        self, sections: Sequence[TableSettings], database: str, *, folds: bool = False
    ) -> None:
        """Take the sections of `patterned_sections`.

        Args:
            database: the default one; empty: none.
            folds: upper and lower case of names are one.
        """
        self._database, self._folds = database, folds
        self._exact = {self._cased(one.name): one for one in sections if not one.is_pattern}
        self._of = {one.name: one for one in sections if one.is_pattern}
        self._patterns = [parse_pattern(text, database) for text in self._of]

    def _cased(self, name: str) -> str:
        return name.lower() if self._folds else name

    def of(
        self, schema: str, table: str, wanted: TableSettings, *, alone: bool = False
    ) -> TableSettings:
        """Return the settings of a table, under a name of its own.

        Args:
            wanted: what it is named or matched by.
            alone: no other database has a table of that name.

        Raises:
            UsageError: two patterns with different settings are equally exact.
        """
        qualified = f"{schema}.{table}"
        own = self._exact.get(self._cased(qualified))
        if own is None and (alone or schema == self._database):
            own = self._exact.get(self._cased(table))
        if own is not None:
            return replace(own, name=qualified) if wanted.is_pattern else wanted
        name = qualified if wanted.is_pattern else wanted.name
        found = most_exact(self._patterns, schema, table, folds=self._folds)
        chosen = [replace(self._of[one.text], name=name, is_pattern=False) for one in found]
        if any(one != chosen[0] for one in chosen):
            texts = " and ".join(repr(one.text) for one in found)
            raise UsageError(
                f"table {qualified} matches the patterns {texts}, which are equally exact",
                fix=f'give it a section of its own: [tables."{qualified}"]',
            )
        return chosen[0] if chosen else replace(wanted, name=name, is_pattern=False)


def check_excluded(values: Values, problems: Problems, *, database: str) -> None:
    """Add what is wrong with the patterns of ``exclude_tables``."""
    if "exclude_tables" in values:
        _check_patterns(*values["exclude_tables"], database, problems)


def _check_patterns(where: str, names: Sequence[str], database: str, problems: Problems) -> None:
    for name in filter(is_pattern, names):
        try:
            parse_pattern(name, database)
        except ValueError as error:
            problems.add(where, f"has a pattern that cannot be used: {name!r} {error}")


_Shared = dict[str, tuple[str, Any]]


def _shared(values: Values, problems: Problems) -> _Shared:
    """Return the settings that are for every table, each with where it was set."""
    shared = {name: values[name] for name in TABLE_SHARED if name in values}
    if "as" in shared and shared["as"][1] not in MODELS:
        where, word = shared.pop("as")
        problems.add(where, f"must be string or hash, not {word!r}{nearest(word, MODELS)}")
    return shared


def _settled(
    name: str, about: Mapping[str, Any], shared: _Shared, problems: Problems, partitions: int
) -> TableSettings:
    """Return a table's section with the shared settings applied."""
    about = {**about, **{key: value for key, (_, value) in shared.items()}}
    at = shared.get("as", shared.get("value", (f"tables.{name}", None)))[0]
    table = _table(name, about, at, problems)
    if partitions > 1 and any(index.member for index in table.index):
        problems.add(
            f"tables.{name}",
            "index: with several partitions a member is the row's key; leave member out",
        )
    return table


def _doubles(names: Sequence[str], database: str) -> list[str]:
    """Return the names of each table that has several.

    >>> _doubles(["users", "orders", "shop.users"], "shop")
    ["'users' and 'shop.users'"]
    """
    of: dict[str, list[str]] = {}
    for name in names:
        of.setdefault(_qualified(name, database), []).append(repr(name))
    return [" and ".join(some) for some in of.values() if len(some) > 1]


def _qualified(name: str, database: str) -> str:
    name = name if is_pattern(name) else plain_name(name)
    return f"{database}.{name}" if database and "." not in name else name


def _table(name: str, about: Mapping[str, Any], where: str, problems: Problems) -> TableSettings:
    def say(what: str) -> None:
        problems.add(where, what if where.startswith("tables.") else f"table {name}: {what}")

    model, mode = _choice("as", about, MODELS, say), _choice("mode", about, MODES, say)
    settings = TableSettings(
        name=name if is_pattern(name) else plain_name(name),
        is_pattern=is_pattern(name),
        key=about.get("key"),
        value=about.get("value"),
        model=model,
        field=about.get("field"),
        columns=_names("columns", about, say) if "columns" in about else None,
        exclude=_names("exclude", about, say),
        rename=_pairs("rename", about, say),
        mask=_masks(about, say),
        index=_indexes(about.get("index", ()), say),
        mode=mode,
        ttl_s=about.get("ttl_s", 0),
    )
    for problem in _contradictions(settings):
        say(problem)
    return settings


_Say = Callable[[str], None]


def _choice(name: str, about: Mapping[str, Any], known: tuple[Any, ...], say: _Say) -> Any:
    word = about.get(name, known[0])
    if word in known:
        return word
    say(f"{name} must be {' or '.join(known)}, not {word!r}{nearest(word, known)}")
    return known[0]


def _names(name: str, about: Mapping[str, Any], say: _Say) -> tuple[str, ...]:
    found = about.get(name, [])
    if not all(isinstance(column, str) and column for column in found):
        say(f"{name} must be a list of column names in quotes")
        return ()
    if name in about and not found:
        say(f"{name} names no column")
    if len({column.lower() for column in found}) < len(found):
        say(f"{name} names a column twice")
    return tuple(found)


def _pairs(name: str, about: Mapping[str, Any], say: _Say) -> tuple[tuple[str, str], ...]:
    found = about.get(name, {})
    if not all(isinstance(text, str) and text for text in found.values()):
        say(f"{name} must give each column a text in quotes")
        return ()
    return tuple(found.items())


def _masks(about: Mapping[str, Any], say: _Say) -> tuple[tuple[str, Mask], ...]:
    out = []
    for column, text in _pairs("mask", about, say):
        try:
            out.append((column, parse_mask(text)))
        except ValueError as error:
            word = text.partition(":")[0]
            say(f"mask of {column} {error}{nearest(word, ('hash', 'drop', 'truncate'))}")
    return tuple(out)


def _indexes(found: Any, say: _Say) -> tuple[IndexSettings, ...]:
    out = []
    for number, one in enumerate(found, 1):
        at = f"index {number}"
        if not isinstance(one, dict) or not all(isinstance(v, str) and v for v in one.values()):
            say(f"{at} must be such as {{set = 'orders:of:{{user_id}}'}}, its values texts")
            continue
        for word in one.keys() - set(_INDEX_WORDS):
            say(f"{at} has an unknown setting {word!r}{nearest(word, _INDEX_WORDS)}")
        kinds = [kind for kind in _INDEX_KINDS if kind in one]
        if len(kinds) != 1:
            say(f"{at} must have either set or zset, the template of its key")
            continue
        kind = kinds[0]
        if (kind == "zset") != ("score" in one):
            say(f"{at}: a zset needs score = 'COLUMN', a set has none")
            continue
        out.append(
            IndexSettings(
                kind=kind, key=one[kind], score=one.get("score"), member=one.get("member")
            )
        )
    return tuple(out)


def _contradictions(table: TableSettings) -> list[str]:
    """Return which settings of a table contradict each other, whatever its columns are."""
    out = []
    if table.model == "hash" and table.value is not None and table.field is None:
        out.append("value names one column, as = hash takes all; keep one (or give it a field)")
    if table.field is not None and table.model != "hash":
        out.append("field is of a hash: add as = 'hash'")
    if table.field is not None and table.key is None:
        out.append("field needs a key that is the parent's, such as key = 'user:{user_id}:orders'")
    if table.columns is not None and table.exclude:
        out.append("columns and exclude both choose columns; keep one")
    if table.value is not None and (table.columns is not None or table.exclude or table.rename):
        out.append("columns, exclude and rename shape the row's object; value takes one column")
    if table.index and any(one.member is None for one in table.index) and table.field is not None:
        out.append(
            "an index together with a field needs a member: the key is the parent's, not the row's"
        )
    if table.mode == "cache":
        if not table.ttl_s:
            out.append("mode = 'cache' needs ttl_s")
        if table.field is not None:
            out.append(
                "mode = 'cache' and field: an expired hash would return with only some of its rows"
            )
        if table.index:
            out.append("mode = 'cache' and index: keys would expire and their members stay")
    elif table.ttl_s:
        out.append("ttl_s expires keys although their rows exist: add mode = 'cache'")
    if not 0 <= table.ttl_s <= TTL_MAX_S:
        out.append(f"ttl_s must be 1 to {TTL_MAX_S}, not {table.ttl_s}")
    if any(text == "" for text in (table.key, table.field)):
        out.append("key and field must not be empty")
    return out
