"""What SELECT prints of a value, and the text that Redis must hold for it.

Pure.  Written from docs/message.md ("Values") and from what the servers print, and from
nothing of `cdc_reader`: a mistake there is to be seen here.  All is bytes, as it comes and goes.
"""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cdc.table import Column

Text = Callable[[bytes], bytes]
Quoting = Literal["bare", "quoted", "escaped"]
"""How a text is written in a row's JSON: as it is, in quotes, in quotes with escapes."""

_NEEDS_ESCAPE = re.compile(rb'[\x00-\x1f"\\]').search
_STRING_OR_SPACE = re.compile(rb'("(?:[^"\\]|\\.)*")|[ \n]+', re.DOTALL)
_FLOAT32 = struct.Struct("<f")
_BINARY = frozenset(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"))
_INTEGERS = frozenset(("tinyint", "smallint", "mediumint", "int", "bigint"))


@dataclass(frozen=True, slots=True)
class Printed:
    """How one column is selected, and what becomes of it."""

    expression: str
    """SQL for PyMySQL: a ``%`` is written twice."""
    text: Text | None
    """From the printed bytes to the text; None: they are it."""
    quoting: Quoting

    def of(self, raw: bytes) -> bytes:
        """Return the text of a value: as in a key, a hash or as the one column."""
        return raw if self.text is None else self.text(raw)

    def in_hash(self, raw: bytes) -> bytes | None:
        """Return the text of a value as a field of a hash; None: it has no field.

        That of JSON's own null is none, and a JSON string is the text itself.
        """
        if self.text is not compact or raw[:1] not in (b'"', b"n"):
            return self.of(raw)
        document = json.loads(raw)
        return None if document is None else str(document).encode()


def quoted(name: str) -> str:
    """Return an identifier as SQL for PyMySQL.

    >>> quoted("a`b%")
    '`a``b%%`'
    """
    return "`{}`".format(name.replace("`", "``").replace("%", "%%"))


def printed(column: Column) -> Printed:
    """Return how a column is read.

    >>> printed(Column(name="n", data_type="float", column_type="float", charset=None,
    ...                nullable=True)).expression
    '`n` * 1e0'
    """
    name, kind = quoted(column.name), column.data_type
    filled = "zerofill" in column.column_type.split()
    if kind in _INTEGERS:
        return Printed(name, _whole if filled else None, "bare")
    if kind == "year":
        return Printed(name, _whole, "bare")
    if kind == "decimal":
        return Printed(name, _unfilled if filled else None, "quoted")
    if kind in ("float", "double"):
        # As a double with all its digits; FLOAT alone is printed with six.
        return Printed(f"{name} * 1e0", _float if kind == "float" else _double, "bare")
    if kind == "bit":
        return Printed(f"{name} + 0", None, "bare")
    if kind in _BINARY:
        return Printed(name, base64.b64encode, "quoted")
    if kind == "datetime":
        return Printed(name, _datetime, "quoted")
    if kind == "timestamp":
        return Printed(name, _timestamp, "quoted")
    if kind in ("date", "time"):
        return Printed(name, None, "quoted")
    if kind == "json":
        return Printed(name, compact, "bare")
    return Printed(name, None, "escaped")


def escaped(raw: bytes) -> bytes:
    r"""Return a text as a string of JSON.

    >>> escaped(b'a"b'), escaped(b"plain")
    (b'"a\\"b"', b'"plain"')
    """
    if _NEEDS_ESCAPE(raw) is None:
        return b'"%b"' % raw
    return json.dumps(raw.decode(), ensure_ascii=False).encode()


def compact(raw: bytes) -> bytes:
    """Return what SELECT prints of a JSON column without spaces between its parts.

    >>> compact(b'{"a": [1, 2.50], "b c": ": , "}')
    b'{"a":[1,2.50],"b c":": , "}'
    """
    return _STRING_OR_SPACE.sub(lambda found: found[1] or b"", raw)


def _whole(raw: bytes) -> bytes:
    return b"%d" % int(raw)


def _unfilled(raw: bytes) -> bytes:
    sign, digits = (b"-", raw[1:]) if raw[:1] == b"-" else (b"", raw)
    whole, point, fraction = digits.partition(b".")
    return sign + (whole.lstrip(b"0") or b"0") + point + fraction


def _double(raw: bytes) -> bytes:
    return repr(float(raw)).encode()


def _float(raw: bytes) -> bytes:
    """Return the shortest text that is this float32 again."""
    number = float(raw)
    wanted = _FLOAT32.pack(number)
    for digits in range(1, 9):
        text = f"{number:.{digits}g}"
        try:
            if _FLOAT32.pack(float(text)) == wanted:
                return repr(float(text)).encode()
        except OverflowError:
            continue
    return repr(float(f"{number:.9g}")).encode()


def _datetime(raw: bytes) -> bytes:
    if raw[5:7] == b"00" or raw[8:10] == b"00":
        return raw
    return raw.replace(b" ", b"T", 1)


def _timestamp(raw: bytes) -> bytes:
    text = _datetime(raw)
    return text if text is raw else text + b"Z"
