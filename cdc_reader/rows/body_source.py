"""Python source that turns texts of columns into message bodies; shared by both codecs.

Pure.  `row_codec` and `select_codec` generate one function for a table.  What is common
to them is here: the function's lines and constants, JSON escaping, keys, and the body.

No name given by a server or a person is put into the source as it is: strings go through
`template_of` and `repr`, everything else through the constants of the function.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from cdc.key import KeyColumn, KeyTemplate

quote = msgspec.json.Encoder().encode
"""Text -> JSON string as bytes, quotes included."""

DIGITS = "0123456789"
BASE64 = DIGITS + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/="


@dataclass(frozen=True, slots=True, kw_only=True)
class TextVariable:
    """A variable of the generated function that holds one column's text."""

    name: str
    quoted: bool
    """A JSON string in the row's object; False: a number, or JSON itself."""
    alphabet: str | None
    """Every character that the text can have, none of which JSON escapes; None: any."""
    size: str = ""
    """Expression of the text's length in UTF-8; empty: none at hand."""

    @property
    def token(self) -> str:
        """Name of the variable with the text as it is inside the value's string."""
        return self.name if self.alphabet is not None else self.name + "t"

    @property
    def or_null(self) -> str:
        """Name of the variable with the token in the row's object, ``null`` where it is NULL."""
        return self.name + "j"

    def token_lines(self, *, nested: bool) -> list[str]:
        """Return the lines that set `token`.

        Args:
            nested: in the row's object, where a string is escaped twice.
        """
        if self.alphabet is not None:
            return []
        name = self.name
        escaped = "e.decode()[1:-1]"
        if nested and self.quoted:
            escaped = "quote(e.decode()).decode()[3:-3]"
        if not self.size:
            return [f"e = quote({name})", f"{name}t = {escaped}"]
        # As long as the text and two quotes: there was nothing to escape.
        return [
            f"e = quote({name})",
            f"{name}t = {name} if len(e) == {self.size} + 2 else {escaped}",
        ]


class FunctionSource:
    """Lines of a function and the constants that they name."""

    def __init__(self, signature: str) -> None:
        self._lines = [signature]
        self._indent = "    "
        self.constants: dict[str, Any] = {
            "quote": quote,
            "number": int.from_bytes,
            "crc32": zlib.crc32,
        }

    def add(self, *lines: str) -> None:
        """Add lines at the current depth."""
        self._lines += [self._indent + line for line in lines]

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Add a line that ends in a colon; what is added inside is indented below it."""
        self.add(head)
        self._indent += "    "
        yield
        self._indent = self._indent[:-4]

    def constant(self, name: str, value: object) -> str:
        """Give the function a constant; return its name."""
        self.constants[name] = value
        return name

    @property
    def text(self) -> str:
        """The function's source."""
        return "\n".join(self._lines) + "\n"

    def compile(self, title: str) -> Callable[..., Any]:
        """Return the function; `title` is its file name in tracebacks."""
        scope = dict(self.constants)
        exec(compile(self.text, f"<{title}>", "exec"), scope)  # noqa: S102
        function: Callable[..., Any] = scope["generated"]
        return function


def template_of(text: str) -> str:
    """Return literal text for the template of an f-string.

    >>> template_of('{"a"}')
    '{{"a"}}'
    """
    return text.replace("{", "{{").replace("}", "}}")


def json_template(text: str) -> str:
    """Return literal text for the inside of a JSON string in an f-string's template."""
    return template_of(quote(text).decode()[1:-1])


def f_string(template: str) -> str:
    """Return the source of an f-string: literals are escaped, ``{name}`` is left to it."""
    return "f" + repr(template)


def key_template(key: KeyTemplate, texts: Mapping[str, TextVariable]) -> tuple[list[str], str]:
    """Return the lines to run first and the f-string template of a key inside a JSON string.

    Args:
        texts: the key's columns by name.
    """
    lines: list[str] = []
    pieces: list[str] = []
    for n, part in enumerate(key.parts):
        if isinstance(part, str):
            pieces.append(json_template(part))
            continue
        own, placeholder = _key_column(part, texts[part.name], f"k{n}")
        lines += own
        pieces.append(placeholder)
    return lines, "".join(pieces)


def plain_key(key: KeyTemplate, texts: Mapping[str, TextVariable]) -> str:
    """Return the expression of a key as it is, which its partition is counted from.

    Args:
        texts: the key's columns by name.
    """
    pieces: list[str] = []
    for part in key.parts:
        if isinstance(part, str):
            pieces.append(repr(part))
            continue
        replaces = "".join(f".replace({old!r}, {new!r})" for old, new in part.escapes)
        pieces.append(f"str({texts[part.name].name}){replaces}")
    return " + ".join(pieces)


def partition_number(key: str, partitions: int) -> str:
    """Return the expression of a key's partition, as `cdc.partition.partition_of` counts it."""
    return f"crc32(({key}).encode()) % {partitions}"


def chain_end(op: str, place: str, partitions: int, source: FunctionSource) -> list[str]:
    """Return the lines that set the address of the message just appended."""
    names = source.constant(f"{op}_at", [f"{op}.{n}".encode() for n in range(partitions)])
    return [f"address({names}[{place}])", f"prevs[{place}] = last = id"]


def _key_column(part: KeyColumn, text: TextVariable, name: str) -> tuple[list[str], str]:
    needed = [
        (old, new) for old, new in part.escapes if text.alphabet is None or old in text.alphabet
    ]
    if text.alphabet is not None and not needed:
        return [], f"{{{text.name}}}"
    replaces = "".join(f".replace({old!r}, {new!r})" for old, new in needed)
    source = text.name if not needed else f"str({text.name}){replaces}"
    if text.alphabet is not None:
        return [f"{name} = {source}"], f"{{{name}}}"
    lines = [f"{name} = {source}"] if needed else []
    return [*lines, f"{name} = quote({name if needed else source}).decode()[1:-1]"], f"{{{name}}}"


FIELD = ('"value":"', '",')
SELECTED = (',"value":"', '"')
"""Text before and after a value: in a message, and in a row of the snapshot."""


def row_line(
    columns: Sequence[tuple[str, TextVariable, bool]], *, field: tuple[str, str] = FIELD
) -> str:
    """Return the line that sets ``value`` to the field of a row as a JSON object.

    Args:
        columns: name, text, and whether it may be NULL, so that `or_null` has its token.
        field: what is before and after the value.
    """
    pieces = (
        ("," if n else "")
        + template_of(escaped_twice(name))
        + ":"
        + (f"{{{text.or_null}}}" if null else nested_token(text))
        for n, (name, text, null) in enumerate(columns)
    )
    template = template_of(field[0] + "{") + "".join(pieces) + template_of("}" + field[1])
    return f"value = {f_string(template)}"


def column_line(text: TextVariable, *, null: bool, field: tuple[str, str] = FIELD) -> str:
    """Return the line that sets ``value`` to the field of one column; empty where it is NULL."""
    value = f_string(f"{field[0]}{{{text.token}}}{field[1]}")
    return f"value = {value} if {text.name} is not None else ''" if null else f"value = {value}"


def selected_row(key: str) -> str:
    """Return the expression of a row of the snapshot; `key` is a template."""
    return f_string('{{"key":"' + key + '"{value}}}') + ".encode()"


def escaped_twice(text: str) -> str:
    r"""Return a JSON string inside a JSON string, its own quotes included.

    >>> print(escaped_twice('a"b'))
    \"a\\\"b\"
    """
    return quote(quote(text).decode()).decode()[1:-1]


def nested_token(text: TextVariable) -> str:
    """Return the template of a column's token in the row's object."""
    return f'\\"{{{text.token}}}\\"' if text.quoted else f"{{{text.token}}}"


def body(op: str, table: str, key: str, *, value: str = "", old_key: str = "") -> str:
    """Return the expression of a body; fields in the order of `cdc.message.Change`.

    Args:
        key: template, as is `old_key`.
        value: template of the whole field, comma included; empty: none.
    """
    old = f'"old_key":"{old_key}",' if old_key else ""
    template = (
        '{{"key":"' + key + '",' + value + f'"op":"{op}","table":"{json_template(table)}",' + old
    )
    return f_string(template + '{middle}{id}","prev":"{prev}{tail}') + ".encode()"
