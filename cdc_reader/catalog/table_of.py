"""Build a `Table` from its settings and columns: the form of its rows in Redis.

Pure.  Every column that the settings name is looked for, and every combination that could not
be kept right is refused: all of a table's problems at once (docs/models.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import ParamSpec, TypeVar

from cdc.check.finding import Finding, Fix, of_error, together
from cdc.errors import CdcError, PreflightError, UsageError
from cdc.key import DEFAULT_TEMPLATE, KeyTemplate, parse_template, refuse_own
from cdc.mask import HEX, Mask, MaskKey
from cdc.setting import nearest
from cdc.table import Column, Index, Table
from cdc.table_settings import IndexSettings, TableSettings
from cdc_reader.binlog.types import type_named
from cdc_reader.catalog.dialect import Dialect
from cdc_reader.catalog.unique_key import UniqueKeys, identifier, key_fix, unique_template
from cdc_reader.rows.select_codec import alphabet_of, lacks_charset, refusal_of

_T = TypeVar("_T")
_P = ParamSpec("_P")


class Refused(PreflightError):
    """Raised for a table that cannot be captured as it is; reports all its problems."""

    findings: tuple[Finding, ...] = ()

    @classmethod
    def by(cls, findings: Sequence[Finding]) -> Refused:
        """Return the findings as one error."""
        error = together([finding.error() for finding in findings])
        refused = cls(error.seen, safe=error.safe, fix=error.fix)
        refused.findings = tuple(findings)
        return refused


class TableBuilder:
    """One table's, with what is wrong in it."""

    def __init__(
        self,
        schema: str,
        name: str,
        wanted: TableSettings,
        columns: Sequence[Column],
        keys: UniqueKeys,
        mask_key: MaskKey | None,
        dialect: Dialect,
    ) -> None:
        """Take the catalog's facts."""
        self.qualified = f"{schema}.{name}"
        self._schema, self._name, self._wanted = schema, name, wanted
        self._columns, self._all_keys, self._mask_key = tuple(columns), keys, mask_key
        self._keys, self._dialect = keys.whole, dialect
        self._names = [column.name for column in columns]
        self._masks: dict[str, Mask] = {}
        self._problems: list[CdcError | Finding] = []

    def table(self) -> Table:
        """Return the table.

        Raises:
            CdcError: all that is wrong, in one.
        """
        wanted = self._wanted
        lacks_key = not self._keys and "{pk}" in (wanted.key or DEFAULT_TEMPLATE)
        if lacks_key:
            self._problems.append(self._no_key())
        self._masks = self._checked_masks()
        key = None
        if not lacks_key:
            key = self._tried(self._redis_key, "key", wanted.key or DEFAULT_TEMPLATE)
        value = self._column("value", wanted.value) if wanted.value is not None else None
        fields = None if wanted.value is not None else self._fields()
        if lacks_key:
            shown = [value] if fields is None and value else [name for name, _ in fields or ()]
            self._check_types(set(shown) if shown or wanted.value else None)
            raise self._refused()
        field = self._tried(self._template, "field", wanted.field) if wanted.field else None
        tried = [self._tried(self._index, one) for one in wanted.index]
        indexes = [index for index in tried if index is not None]
        if value is not None and self._masked(value, "drop"):
            self._refuse(f"value: column {value!r} is dropped by its mask")
        if key is None:
            raise self._refused()
        self._check_identity(key, field, indexes)
        used = self._used(key, field, value, fields, indexes)
        self._check_types(used)
        self._check_generated(used, value)
        if self._problems:
            raise self._refused()
        return Table(
            schema=self._schema,
            name=self._name,
            columns=self._columns,
            identity=self._keys[0] if self._keys else key.columns,
            chunk_key=self._keys[0] if self._keys else (),
            key=key,
            value_column=value,
            model=wanted.model,
            fields=fields,
            masks=tuple((c, m) for c, m in self._masks.items() if m.kind != "drop"),
            field=field,
            indexes=tuple(indexes),
            primary=self._all_keys.primary,
            unique_keys=self._all_keys.all,
            hidden_columns=self._all_keys.hashes,
            ttl_s=wanted.ttl_s,
        )

    # -- columns ------------------------------------------------------------------------

    def _column(self, where: str, wanted: str) -> str | None:
        """Return a column's name as the catalog writes it: MySQL's columns have no case."""
        for name in self._names:
            if name.lower() == wanted.lower():
                return name
        self._problems.append(
            UsageError(
                f"table {self.qualified} has no column {wanted!r}{nearest(wanted, self._names)}"
                + ("" if where == "value" else f" ({where})"),
                fix="its columns are " + ", ".join(self._names),
            )
        )
        return None

    def _several(self, where: str, wanted: Iterable[str]) -> list[str]:
        return [name for one in wanted if (name := self._column(where, one)) is not None]

    def _fields(self) -> tuple[tuple[str, str], ...] | None:
        """Return the columns of the row's object with their names there; None: as they are."""
        wanted = self._wanted
        left_out = set(self._several("exclude", wanted.exclude))
        # A key that MySQL made itself is none of the application's columns.
        chosen = [column.name for column in self._columns if not column.is_implicit]
        if wanted.columns is not None:
            chosen = self._several("columns", wanted.columns)
        dropped = [name for name in self._names if self._masked(name, "drop")]
        kept = [name for name in chosen if name not in left_out and name not in dropped]
        renamed: dict[str, str] = {}
        for column, field in wanted.rename:
            if (name := self._column("rename", column)) is not None:
                renamed[name] = field
                if name not in kept:
                    self._refuse(f"rename: column {name!r} is not in the row's object")
        fields = tuple((name, renamed.get(name, name)) for name in kept)
        names = [name for _, name in fields]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self._refuse(f"rename: two columns are called {name!r} in the row's object")
        if not fields:
            self._refuse("columns, exclude and mask leave no column")
        # A list of columns stays one, also where it names all that there are today.
        is_open = wanted.columns is None and fields == tuple((name, name) for name in self._names)
        return None if is_open else fields

    def _checked_masks(self) -> dict[str, Mask]:
        out: dict[str, Mask] = {}
        by_name = {column.name: column for column in self._columns}
        chunk_key = self._keys[0] if self._keys else ()
        for wanted, mask in self._wanted.mask:
            name = self._column("mask", wanted)
            if name is None:
                continue
            if name in out:
                self._refuse(f"mask: column {name!r} is named twice")
            if name in chunk_key:
                self._refuse(
                    f"mask: {name!r} is part of the key that the table is read by, whose last "
                    "value is in every heartbeat",
                )
            kind = type_named(by_name[name].data_type)
            if mask.kind == "truncate" and not kind.is_truncatable:
                self._refuse(f"mask: {name!r} is no text or time, so it cannot be truncated")
            out[name] = replace(mask, key=self._mask_key) if mask.kind == "hash" else mask
        if self._mask_key is None and any(one.kind == "hash" for one in out.values()):
            self._problems.append(
                UsageError(
                    f"table {self.qualified}: mask = 'hash' needs a secret",
                    safe="nothing was written",
                    fix="openssl rand -hex 32 > mask.key, then CDC_MASK_KEY_FILE=mask.key; keep "
                    "it: with another\none all hashes are others",
                )
            )
        return out

    def _masked(self, column: str, *kinds: str) -> bool:
        return column in self._masks and self._masks[column].kind in kinds

    # -- templates ----------------------------------------------------------------------

    def _template(self, where: str, text: str, *, may_be_constant: bool = False) -> KeyTemplate:
        template = parse_template(
            cased(text, self._names),
            schema=self._schema,
            table=self._name,
            pk=self._keys[0] if self._keys else (),
            columns=self._names,
            may_be_constant=may_be_constant,
        )
        for name in template.columns:
            if self._masked(name, "drop", "truncate"):
                self._refuse(
                    f"{where}: column {name!r} has the mask {self._masks[name].kind}; only a "
                    "hashed one tells rows apart",
                )
        return template

    def _redis_key(self, where: str, text: str, *, may_be_constant: bool = False) -> KeyTemplate:
        template = self._template(where, text, may_be_constant=may_be_constant)
        return refuse_own(template, self.qualified)

    def _index(self, wanted: IndexSettings) -> Index | None:
        if "{pk}" in wanted.key + (wanted.member or "") and not self._keys:
            self._problems.append(self._no_key())
            return None
        key = self._redis_key(wanted.kind, wanted.key, may_be_constant=True)
        member = self._template("member", wanted.member) if wanted.member else None
        score = None
        if wanted.score is not None and (score := self._column("score", wanted.score)):
            kind = next(c.data_type for c in self._columns if c.name == score)
            if not type_named(kind).can_be_score:
                self._refuse(f"score: column {score!r} is {kind}, no number and no time")
            if score in self._masks:
                self._refuse(f"score: column {score!r} is masked")
        return Index(kind=wanted.kind, key=key, score=score, member=member)

    def _check_identity(
        self, key: KeyTemplate, field: KeyTemplate | None, indexes: Sequence[Index]
    ) -> None:
        """Refuse two rows with one field or member: removing one would remove the other."""
        if field is not None and not self._is_unique({*key.columns, *field.columns}):
            self._refuse(
                "key and field together contain no unique key: rows would share a field, and lose "
                "it together",
            )
        for index in indexes:
            member = index.member or key
            if not self._is_unique(member.columns):
                self._refuse(
                    f"{index.kind} {index.key.text!r}: its members contain no unique key: rows "
                    "would share one, and lose it together",
                )

    def _is_unique(self, columns: Iterable[str]) -> bool:
        used = set(columns)
        return any(used.issuperset(key) for key in self._all_keys.all)

    # -- types --------------------------------------------------------------------------

    @staticmethod
    def _used(
        key: KeyTemplate,
        field: KeyTemplate | None,
        value: str | None,
        fields: tuple[tuple[str, str], ...] | None,
        indexes: Sequence[Index],
    ) -> set[str] | None:
        if value is None and fields is None:
            return None
        used = {*key.columns, *(field.columns if field else ())}
        used |= {value} if value is not None else {name for name, _ in fields or ()}
        for index in indexes:
            used |= {*index.key.columns, *(index.member.columns if index.member else ())}
            used |= {index.score} if index.score else set()
        return used

    def _check_types(self, used: set[str] | None) -> None:
        needed = [c for c in self._columns if used is None or c.name in used]
        refused = [column for column in needed if refusal_of(column) is not None]
        charsets = [column for column in refused if lacks_charset(column)]
        types = [column for column in refused if column not in charsets]
        other = "carry one other column: --value COLUMN; or leave these out: exclude"
        if types:
            named = [f"{c.name} ({c.column_type})" for c in types]
            self._not_carried("mysql.column-type", named, Fix(advice=other))
        if charsets:
            table = f"{identifier(self._schema)}.{identifier(self._name)}"
            convert = f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4;"
            fix = Fix(sql=(convert,), is_invasive=True, advice=f"(rebuilds the table), or {other}")
            named = [f"{c.name} ({c.column_type} in {c.charset})" for c in charsets]
            self._not_carried("mysql.column-charset", named, fix)

    def _not_carried(self, id: str, named: Sequence[str], fix: Fix) -> None:
        seen = f"table {self.qualified} has columns that cannot be carried exactly: "
        self._problems.append(
            Finding(id=id, seen=seen + ", ".join(named), fix=fix, table=self.qualified)
        )

    def _check_generated(self, used: set[str] | None, value: str | None) -> None:
        """Refuse columns that the binlog has only in some rows."""
        named = [
            column.name
            for column in self._columns
            if column.is_generated and (used is None or column.name in used)
        ]
        if not named or not self._dialect.omits_generated:
            return
        listed = ", ".join(f'"{name}"' for name in named)
        way = f'exclude = [{listed}] in [tables."{self.qualified}"] of cdc.toml'
        if value is not None:
            way = "--value with a column that is not generated"
        elif self._wanted.columns is not None:
            way = f'columns without {listed} in [tables."{self.qualified}"] of cdc.toml'
        self._problems.append(
            Finding(
                id="mysql.column-generated",
                seen=f"table {self.qualified} has generated columns: {', '.join(named)}",
                table=self.qualified,
                fix=Fix(advice=f"leave them out: {way},\nand name them in no key, field or index"),
            )
        )

    # -- messages --------------------------------------------------------------------------

    def _tried(self, make: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T | None:
        try:
            return make(*args, **kwargs)
        except CdcError as error:
            self._problems.append(error)
            return None

    def _refuse(self, what: str) -> None:
        self._problems.append(
            UsageError(
                f"table {self.qualified}: {what}",
                safe="nothing was written",
                fix="see docs/models.md",
            )
        )

    def _refused(self) -> CdcError:
        """Return all that is wrong as one error."""
        if len(self._problems) == 1 and isinstance(self._problems[0], CdcError):
            return self._problems[0]
        return Refused.by(
            [
                one if isinstance(one, Finding) else of_error("mysql.table", one, self.qualified)
                for one in self._problems
            ]
        )

    def _no_key(self) -> Finding:
        keys = self._all_keys
        seen = "has neither a primary key nor a unique key of NOT NULL columns"
        # No template is proposed that could give two rows one key.
        otherwise = "or name columns that\ntell its rows apart, all of them: --key TEMPLATE"
        if keys.partial:
            seen = f"has no unique key of whole columns, only one on {keys.partial[0][1]}"
            otherwise = f"or name it: --key '{unique_template(keys)}'"
        return Finding(
            id="mysql.table-key-part" if keys.partial else "mysql.table-key",
            seen=f"table {self.qualified} {seen}",
            table=self.qualified,
            fix=key_fix(
                (self._schema, self._name),
                self._columns,
                has_primary=keys.has_primary,
                dialect=self._dialect,
                otherwise=otherwise,
            ),
        )


def alphabets_of(table: Table) -> dict[str, str]:
    """Return the characters that columns' texts can have in a key, where that is known."""
    out = {c.name: a for c in table.columns if (a := alphabet_of(c)) is not None}
    return out | {name: HEX for name, mask in table.masks if mask.kind == "hash"}


def cased(text: str, names: Sequence[str]) -> str:
    """Write the template's columns as the catalog does: MySQL's columns have no case."""
    for name in names:
        at = text.lower().find("{" + name.lower() + "}")
        if at >= 0 and name not in ("pk", "table", "schema"):
            text = text[: at + 1] + name + text[at + 1 + len(name) :]
    return text
