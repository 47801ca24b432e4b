"""Key templates: from a row's columns to its Redis key, and back to nothing else.

Pure.  ``{table}:{pk}`` is the default; placeholders are ``{table}``, ``{schema}``,
``{pk}`` (all primary-key columns joined by ``:``) and any column.

Distinct values give distinct keys.  With one value in the template that is so by
itself, and the value stays as it is (``{your_key}`` -> ``user:123``).  With several,
``:``, ``%`` and every other sign that separates them are percent-encoded inside the values.
"""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from cdc.errors import UsageError
from cdc.own_keys import PREFIX
from cdc.setting import nearest

DEFAULT_TEMPLATE = "{table}:{pk}"


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """A place in a template that a column fills."""

    name: str
    escapes: tuple[tuple[str, str], ...]
    """Replacements in order, such as ``(("%", "%25"), (":", "%3A"))``; empty: as it is."""

    def escape(self, text: str) -> str:
        """Return the column's text as it is in the key."""
        for old, new in self.escapes:
            text = text.replace(old, new)
        return text

    def unescape(self, text: str) -> str:
        """Return the column's text from the key."""
        signs = {new: old for old, new in self.escapes}
        escaped = "|".join(map(re.escape, signs))
        return re.sub(escaped, lambda found: signs[found[0]], text) if signs else text


@dataclass(frozen=True, slots=True)
class KeyTemplate:
    """A parsed template of one table.

    >>> t = parse_template("{table}:{pk}", schema="shop", table="lines", pk=("order_id", "no"))
    >>> t.render({"order_id": "7", "no": "a:b"})
    'lines:7:a%3Ab'
    >>> t.literal_prefix
    'lines:'
    """

    text: str
    parts: tuple[str | KeyColumn, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the key is made of, in order of first use."""
        return tuple(dict.fromkeys(p.name for p in self.parts if isinstance(p, KeyColumn)))

    @property
    def literal_prefix(self) -> str:
        """What every key begins with; empty when the template begins with a column."""
        return self.parts[0] if self.parts and isinstance(self.parts[0], str) else ""

    def begins_as(self, other: KeyTemplate) -> bool:
        """Return whether a key may begin as both do: where not, no key is of both."""
        one, two = self.literal_prefix, other.literal_prefix
        return one.startswith(two) or two.startswith(one)

    def render(self, values: Mapping[str, str]) -> str:
        """Return the key of a row whose key columns have these texts."""
        return "".join(
            part if isinstance(part, str) else part.escape(values[part.name]) for part in self.parts
        )

    def columns_of(self, key: str) -> dict[str, str] | None:
        """Return the texts that a key was made of; None: no row of this template has it.

        >>> t = parse_template("{table}:{pk}", schema="shop", table="lines", pk=("order_id", "no"))
        >>> t.columns_of("lines:7:a%3Ab"), t.columns_of("users:7")
        ({'order_id': '7', 'no': 'a:b'}, None)
        """
        pattern = "".join(
            re.escape(part) if isinstance(part, str) else "(.*?)" for part in self.parts
        )
        if (found := re.fullmatch(pattern, key, re.DOTALL)) is None:
            return None
        columns = [part for part in self.parts if isinstance(part, KeyColumn)]
        texts: dict[str, str] = {}
        for column, text in zip(columns, found.groups(), strict=True):
            texts[column.name] = column.unescape(text)
        return texts if self.render(texts) == key else None

    def may_have_made(self, key: str) -> bool:
        """Return whether some row could have this key: literals match in order.

        Escaped characters are not looked for inside values, so this errs on the side of yes
        only where a value may be anything.
        """
        if not self.columns:
            return key == "".join(map(str, self.parts))
        literals = [p for p in self.parts if isinstance(p, str)]
        if isinstance(self.parts[0], str):
            if not key.startswith(literals[0]):
                return False
            key = key[len(literals.pop(0)) :]
        if literals and isinstance(self.parts[-1], str):
            if not key.endswith(literals[-1]):
                return False
            key = key[: len(key) - len(literals.pop())]
        for literal in literals:
            at = key.find(literal)
            if at < 0:
                return False
            key = key[at + len(literal) :]
        return True


def is_only_of(key: str, template: KeyTemplate, others: Sequence[KeyTemplate]) -> bool:
    """Return whether a table's template may have made a key, and no other's."""
    return template.may_have_made(key) and not any(
        other.literal_prefix and other.may_have_made(key) for other in others
    )


def escaped(prefix: str) -> str:
    r"""Return a text for SCAN's pattern that matches itself alone.

    >>> escaped("a*b:")
    'a\\*b:'
    """
    return re.sub(r"([*?\[\]\\])", r"\\\1", prefix)


_Value = TypeVar("_Value")


class Templates(Generic[_Value]):
    """Templates with a value each, found by a key: of 5,000 only those that begin as it does.

    >>> t = parse_template("{table}:{pk}", schema="shop", table="users", pk=("id",))
    >>> list(Templates([(t, "users")]).of("users:7"))
    ['users']
    """

    def __init__(self, templates: Iterable[tuple[KeyTemplate, _Value]]) -> None:
        """Take them in, in the order in which they are to be found."""
        self._by_begin: dict[str, list[tuple[int, KeyTemplate, _Value]]] = {}
        for number, (template, value) in enumerate(templates):
            at = self._by_begin.setdefault(template.literal_prefix, [])
            at.append((number, template, value))
        self._lengths = sorted(set(map(len, self._by_begin)))

    def of(self, key: str) -> Iterator[_Value]:
        """Yield the values of those that may have made a key, in their order."""
        begins = {key[:length] for length in self._lengths if length <= len(key)}
        found = [one for begin in begins for one in self._by_begin.get(begin, ())]
        for _, template, value in sorted(found, key=lambda one: one[0]):
            if template.may_have_made(key):
                yield value


def parse_template(
    text: str,
    *,
    schema: str,
    table: str,
    pk: Sequence[str],
    columns: Sequence[str] | None = None,
    may_be_constant: bool = False,
) -> KeyTemplate:
    """Return the template of a table.

    Args:
        pk: the columns that identify a row, for ``{pk}``.
        columns: the table's columns, to refuse an unknown one; None: not known here.
        may_be_constant: a template without a column is one too: an index of all rows.

    Raises:
        UsageError: unbalanced braces, an unknown column, no column at all, or two
            columns with nothing between them (``{a}{b}``: 1,23 and 12,3 would be one key).
    """
    pieces = _pieces(text, schema=schema, table=table, pk=tuple(pk))
    names = [p[1] for p in pieces if p[0] == "column"]
    if not names and not may_be_constant:
        raise UsageError(
            f"key template {text!r} of {schema}.{table} names no column",
            fix="name the columns that identify a row: --key '{table}:{pk}'",
        )
    for name in names:
        if columns is not None and name not in columns:
            raise UsageError(
                f"key template {text!r}: {schema}.{table} has no column {name!r}"
                + nearest(name, columns),
                fix="its columns are " + ", ".join(columns),
            )
    _refuse_neighbours(text, pieces)
    escapes = _escapes(pieces) if len(names) > 1 else ()
    parts = tuple(p[1] if p[0] == "text" else KeyColumn(p[1], escapes) for p in pieces)
    return KeyTemplate(text, parts)


def refuse_own(template: KeyTemplate, table: str) -> KeyTemplate:
    """Return a template of Redis keys, unless its rows would all be refused by the sink.

    Raises:
        UsageError: it begins with ``cdc:``, where cdc keeps its own keys.
    """
    if template.literal_prefix.startswith(PREFIX):
        raise UsageError(
            f"key template {template.text!r} of {table}: keys that begin with {PREFIX} are for "
            "cdc's own",
            safe="nothing was written",
            fix="begin the template with another text: --key 'rows:{table}:{pk}'",
        )
    return template


_Piece = tuple[str, str]  # ("text", literal) or ("column", name)


def _pieces(text: str, *, schema: str, table: str, pk: tuple[str, ...]) -> list[_Piece]:
    out: list[_Piece] = []

    def add(kind: str, value: str) -> None:
        if kind == "text" and out and out[-1][0] == "text":
            out[-1] = ("text", out[-1][1] + value)
        elif value:
            out.append((kind, value))

    try:
        fields = list(string.Formatter().parse(text))
    except ValueError as error:
        raise UsageError(
            f"key template {text!r}: {error}", fix="write a literal brace twice: {{ or }}"
        ) from None
    for literal, name, spec, conversion in fields:
        add("text", literal)
        if name is None:
            continue
        if spec or conversion or not name:
            raise UsageError(
                f"key template {text!r}: a placeholder is a column's name in braces",
                fix="for example --key 'user:{id}'",
            )
        if name == "pk":
            for i, column in enumerate(pk):
                add("text", ":" if i else "")
                add("column", column)
        elif name in ("table", "schema"):
            add("text", table if name == "table" else schema)
        else:
            add("column", name)
    return out


def _refuse_neighbours(text: str, pieces: list[_Piece]) -> None:
    columns_at = [i for i, (kind, _) in enumerate(pieces) if kind == "column"]
    for left, right in itertools.pairwise(columns_at):
        between = "".join(value for _, value in pieces[left + 1 : right])
        if not between or between.isalnum():
            name, next_name = pieces[left][1], pieces[right][1]
            raise UsageError(
                f"key template {text!r}: no separator between {name!r} and {next_name!r}, "
                "so different rows could share a key",
                fix=f"put a sign between them: {{{name}}}:{{{next_name}}}",
            )


def _escapes(pieces: list[_Piece]) -> tuple[tuple[str, str], ...]:
    columns_at = [i for i, (kind, _) in enumerate(pieces) if kind == "column"]
    between = pieces[columns_at[0] : columns_at[-1]]
    separators = {c for kind, value in between if kind == "text" for c in value} | {":"}
    quoted = ["%", *sorted(c for c in separators - {"%"} if not c.isalnum())]
    return tuple((c, "".join(f"%{byte:02X}" for byte in c.encode())) for c in quoted)
