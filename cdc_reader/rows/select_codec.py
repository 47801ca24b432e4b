"""Rows of a SELECT -> rows of a message, key and value as their binlog events would give them.

Pure.  `CONNECTION` and `cdc.mysql.session` set how the rows have to be read: every value as the
bytes that the server prints, times in UTC.  As in `row_codec`, one function is generated
for a table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pymysql.converters import conversions

from cdc.errors import PositionLostError, PreflightError
from cdc.table import Column, Table
from cdc_reader.binlog.types import Family, type_named
from cdc_reader.rows.body_source import (
    BASE64,
    DIGITS,
    SELECTED,
    FunctionSource,
    TextVariable,
    column_line,
    f_string,
    key_template,
    nested_token,
    row_line,
    selected_row,
)
from cdc_reader.rows.json_binary import canonical_json
from cdc_reader.rows.row_plan import (
    CALLED,
    PRINTED,
    PRINTED_DATETIME,
    PRINTED_TIMESTAMP,
    TEXT,
    PlannedReading,
    select_plan,
)
from cdc_reader.rows.shape import needed_columns, target_of
from cdc_reader.rows.shaped_rows import shaped_selection
from cdc_reader.rows.value import (
    base64_text,
    selected_datetime,
    selected_decimal,
    selected_double,
    selected_float,
    selected_timestamp,
)

CONNECTION: dict[str, Any] = {
    "charset": "utf8mb4",
    "use_unicode": False,
    # Without decoders every value stays bytes; arguments are still encoded.
    "conv": {kind: encode for kind, encode in conversions.items() if not isinstance(kind, int)},
}
"""Arguments of `pymysql.connect`: text as UTF-8, every value as the bytes that are printed."""

SelectedRow = tuple[bytes | None, ...]

_SIGNATURE = "def generated(rows, append):"
_CONSTANTS = {
    "base64_text": base64_text,
    "canonical_json": canonical_json,
    "selected_datetime": selected_datetime,
    "selected_decimal": selected_decimal,
    "selected_double": selected_double,
    "selected_float": selected_float,
    "selected_timestamp": selected_timestamp,
}
_CHARSETS = frozenset(("utf8mb4", "utf8mb3", "utf8", "ascii", "latin1"))

_NUMBER, _TEMPORAL = DIGITS + "-.e+", DIGITS + "-:.TZ "
_SIMPLE = {
    # data type: (line's right side, quoted, alphabet)
    "year": ("int({})", False, DIGITS),
    "float": ("selected_float({})", False, _NUMBER),
    "double": ("selected_double({})", False, _NUMBER),
    "bit": ("{}.decode()", False, DIGITS),
    "date": ("{}.decode()", True, _TEMPORAL),
    "time": ("{}.decode()", True, _TEMPORAL),
    "datetime": ("selected_datetime({})", True, _TEMPORAL),
    "timestamp": ("selected_timestamp({})", True, _TEMPORAL),
    "json": ("canonical_json({})", False, None),
}


def _integer_text(raw: bytes) -> str:
    return str(int(raw))


_READINGS: dict[str, PlannedReading] = {
    "year": (CALLED, 0, False, _integer_text),
    "float": (CALLED, 0, False, selected_float),
    "double": (CALLED, 0, False, selected_double),
    "bit": (PRINTED, 0, False, None),
    "date": (PRINTED, 0, True, None),
    "time": (PRINTED, 0, True, None),
    "datetime": (PRINTED_DATETIME, 0, True, None),
    "timestamp": (PRINTED_TIMESTAMP, 0, True, None),
    "json": (CALLED, 0, False, canonical_json),
}
"""`_SIMPLE` for the compiled path."""


def refusal_of(column: Column) -> str | None:
    """Return why a column cannot be carried, None when it can.

    >>> refusal_of(Column(name="g", data_type="point", column_type="point", charset=None,
    ...                   nullable=True))
    'type point'
    """
    kind = type_named(column.data_type)
    if _is_compressed(column):
        return "MariaDB's column compression"
    if (kind.is_text or kind.is_labels) and column.charset not in _CHARSETS:
        return f"character set {column.charset}"
    return None if kind.is_carried else f"type {kind.name}"


def lacks_charset(column: Column) -> bool:
    """Return whether a column is refused only for its character set: converting it helps."""
    kind = type_named(column.data_type)
    is_text = (kind.is_text or kind.is_labels) and not _is_compressed(column)
    return is_text and bool(column.charset) and column.charset not in _CHARSETS


def _is_compressed(column: Column) -> bool:
    # Labels may be anything.
    is_labels = type_named(column.data_type).is_labels
    return not is_labels and "COMPRESSED" in column.column_type.upper()


def alphabet_of(column: Column) -> str | None:
    """Return every character that a column's text in a key can have; None: any.

    >>> alphabet_of(Column(name="id", data_type="int", column_type="int", charset=None,
    ...                    nullable=False))
    '0123456789-'
    """
    return _text(column, "v").alphabet if refusal_of(column) is None else None


class SelectCodec:
    """Makes messages of selected rows of one table."""

    def __init__(self, table: Table, *, mariadb: bool) -> None:
        """Generate the function.

        Raises:
            PreflightError: a column that is needed has a type or character set that is not
                carried.
        """
        self.table = table.qualified
        """``shop.users``."""
        self._table = table
        self._mariadb = mariadb
        target = target_of(table)
        needed = needed_columns(target, table.column_names)
        self._columns = [column for column in table.columns if column.name in needed]
        for column in self._columns:
            why = refusal_of(column)
            if why is not None:
                raise _refused(table, column, why)
        self.indexes = {column.name: n for n, column in enumerate(self._columns)}
        """Place of each selected column in a row."""
        self.select_list = ", ".join(_expression(column) for column in self._columns)
        """What to select, in SQL for PyMySQL: a ``%`` in a name is written twice."""
        self._target = target
        self._fields = target.fields or tuple((name, name) for name in table.column_names)
        self._function = self.source().compile(f"selected rows of {table.qualified!r}")
        self._plan = None
        if target.shaped is None:
            self._plan = select_plan(
                {column.name: _reading(column) for column in self._columns},
                table=table.qualified,
                key=table.key,
                value_column=table.value_column,
                fields=table.fields,
            )

    def rows(self, selected: Sequence[SelectedRow]) -> list[bytes]:
        """Return ``{"key":"users:7","value":"…"}`` for each row.

        Args:
            selected: values in the order of `select_list`; more columns after them are ignored.

        Raises:
            PositionLostError: a row cannot be carried exactly.
        """
        out: list[bytes] = []
        if self._plan is not None and self._plan.selected(selected, out):
            return out
        try:
            self._function(selected, out.append)
        except (ValueError, IndexError, OverflowError, TypeError) as error:
            # The error's own text can hold a value of the row.
            raise self._unreadable(type(error).__name__) from None
        return out

    def source(self) -> FunctionSource:
        """Return the source of the function."""
        source = FunctionSource(_SIGNATURE)
        source.constants |= _CONSTANTS
        source.constant("null_key", self._null_key)
        texts = {column.name: _text(column, f"v{n}") for n, column in enumerate(self._columns)}
        names = "".join(f"v{n}, " for n in range(len(self._columns)))
        with source.block("for cells in rows:"):
            source.add(f"cells = cells[:{len(self._columns)}]", f"{names}= cells")
            if self._target.shaped is not None:
                self._write_shaped(source, texts)
                source.add(f"append(made(({names})))")
                return source
            with source.block("if None not in cells:"):
                self._write_way(source, texts, some_null=False)
            with source.block("else:"):
                self._write_way(source, texts, some_null=True)
            lines, key = key_template(self._table.key, texts)
            source.add(*lines, f"append({selected_row(key)})")
        return source

    def _write_shaped(self, source: FunctionSource, texts: dict[str, TextVariable]) -> None:
        """Write the lines that make each column's text, None where it is NULL."""
        made = shaped_selection(
            self._target,
            texts,
            self._table.column_names,
            lambda name: self._null_key(self.indexes[name]),
        )
        source.constant("made", made)
        for column in self._columns:
            with source.block(f"if {texts[column.name].name} is not None:"):
                source.add(*_lines(column, texts[column.name]))

    def _write_way(
        self, source: FunctionSource, texts: dict[str, TextVariable], *, some_null: bool
    ) -> None:
        only = self._table.value_column
        for n, column in enumerate(self._columns):
            text = texts[column.name]
            lines = _lines(column, text)
            if only is None or column.name == only:
                lines += text.token_lines(nested=only is None)
            if not some_null:
                source.add(*lines)
                continue
            with source.block(f"if v{n} is None:"):
                if column.name in self._table.key.columns:
                    source.add(f"raise null_key({n})")
                else:
                    source.add(
                        f"{text.or_null} = 'null'" if only is None else f"{text.token} = None"
                    )
            with source.block("else:"):
                if only is None:
                    lines.append(f"{text.or_null} = {f_string(nested_token(text))}")
                source.add(*lines)
        if only is not None:
            source.add(column_line(texts[only], null=some_null, field=SELECTED))
        else:
            columns = [(field, texts[name], some_null) for name, field in self._fields]
            source.add(row_line(columns, field=SELECTED))

    def _null_key(self, place: int) -> PositionLostError:
        return PositionLostError(
            f"a row of {self._table.qualified} has NULL in {self._columns[place].name!r}, "
            "a column of its key",
            safe="the rows read before were published; no other was",
            fix="make the key of columns that are NOT NULL: --key TEMPLATE",
        )

    def _unreadable(self, what: str) -> PositionLostError:
        return PositionLostError(
            f"a selected row of {self._table.qualified} cannot be read: {what}",
            safe="the rows read before were published; no other was",
            fix="check that the table's definition has not changed, then start cdc again",
        )


def quoted(name: str) -> str:
    """Return an identifier of the catalog as SQL for PyMySQL: a ``%`` is written twice.

    >>> quoted("a`b"), quoted("a%b")
    ('`a``b`', '`a%%b`')
    """
    return "`" + name.replace("`", "``").replace("%", "%%") + "`"


def _expression(column: Column) -> str:
    name = quoted(column.name)
    family = type_named(column.data_type).family
    if family is Family.FLOATING:
        # FLOAT would be printed with six digits, and both with the decimals of FLOAT(M,D);
        # times one keeps the sign of -0, which plus zero does not.
        return name + "*1e0"
    return name + "+0" if family is Family.BIT else name


def _text(column: Column, name: str) -> TextVariable:
    kind = type_named(column.data_type)
    if kind.is_integer:
        return TextVariable(name=name, quoted=False, alphabet=DIGITS + "-")
    if kind.family is Family.DECIMAL:
        return TextVariable(name=name, quoted=True, alphabet=DIGITS + "-.")
    if kind.is_bytes:
        return TextVariable(name=name, quoted=True, alphabet=BASE64)
    if kind.is_text or kind.is_labels:
        return TextVariable(name=name, quoted=True, alphabet=None, size=name + "l")
    _, quoted, alphabet = _SIMPLE[kind.name]
    return TextVariable(name=name, quoted=quoted, alphabet=alphabet)


def _is_zerofill(column: Column) -> bool:
    return bool(re.search(r"\bzerofill\b", column.column_type))


def _reading(column: Column) -> PlannedReading:
    """Return how the printed bytes become text on the compiled path: as `_lines` does it."""
    kind = type_named(column.data_type)
    if kind.is_integer:
        zerofilled = (CALLED, 0, False, _integer_text)
        return zerofilled if _is_zerofill(column) else (PRINTED, 0, False, None)
    if kind.family is Family.DECIMAL:
        zerofilled = (CALLED, 0, True, selected_decimal)
        return zerofilled if _is_zerofill(column) else (PRINTED, 0, True, None)
    if kind.is_bytes:
        return CALLED, 0, True, base64_text
    if kind.is_text or kind.is_labels:
        return TEXT, 0, True, None
    return _READINGS[kind.name]


def _lines(column: Column, text: TextVariable) -> list[str]:
    """Return the lines that make the text of the printed bytes."""
    kind, name = type_named(column.data_type), text.name
    zerofill = _is_zerofill(column)
    if kind.is_integer:
        return [f"{name} = int({name})" if zerofill else f"{name} = {name}.decode()"]
    if kind.family is Family.DECIMAL:
        convert = f"selected_decimal({name})" if zerofill else f"{name}.decode()"
        return [f"{name} = {convert}"]
    if kind.is_bytes:
        return [f"{name} = base64_text({name})"]
    if kind.is_text or kind.is_labels:
        return [f"{name}l = len({name})", f"{name} = {name}.decode()"]
    return [f"{name} = " + _SIMPLE[kind.name][0].format(name)]


def _refused(table: Table, column: Column, why: str) -> PreflightError:
    return PreflightError(
        f"column {column.name!r} of {table.qualified} has {why}, which cdc does not carry",
        safe="nothing of this table was published",
        fix="capture one other column of it with --value COLUMN, or take the table out",
    )
