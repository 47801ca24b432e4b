"""Pieces of generated source: templates, keys, tokens and bodies."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.key import KeyTemplate, parse_template
from cdc.message import Change, encode
from cdc.partition import partition_of
from cdc_reader.rows.body_source import (
    DIGITS,
    SELECTED,
    FunctionSource,
    TextVariable,
    body,
    column_line,
    escaped_twice,
    f_string,
    json_template,
    key_template,
    partition_number,
    plain_key,
    quote,
    row_line,
    selected_row,
    template_of,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
TEMPLATES = ["t:{a}", "{a}", "{a}:{n}", "{n}:{a}:x", 'q"{{{a}}}\\{n}é', "{n}"]
A = TextVariable(name="a", quoted=True, alphabet=None)
N = TextVariable(name="n", quoted=False, alphabet=DIGITS)


def evaluated(expression: str, **values: Any) -> Any:
    """Return what generated source comes to."""
    return eval(expression, {"quote": quote, "crc32": zlib.crc32, **values})


def ran(lines: list[str], name: str, **values: Any) -> Any:
    """Return a variable after generated lines."""
    scope: dict[str, Any] = {"quote": quote, **values}
    exec("\n".join(lines), scope)
    return scope[name]


def key_of(text: str) -> KeyTemplate:
    """Return a template of the columns ``a`` and ``n``."""
    return parse_template(text, schema="s", table="t", pk=("a",))


@given(TEXT)
def test_a_literal_stands_in_an_f_string_as_it_is(text: str) -> None:
    """Braces, quotes, backslashes and line ends of a name never become source."""
    assert text == evaluated(f_string(template_of(text)))
    assert json.dumps(text, ensure_ascii=False)[1:-1] == json.loads(
        json.dumps(evaluated(f_string(json_template(text))))
    ) or text == json.loads(f'"{evaluated(f_string(json_template(text)))}"')


@given(TEXT)
def test_a_string_inside_a_string_is_escaped_twice(text: str) -> None:
    """Reading both leads back to it."""
    inner = json.loads(f'"{escaped_twice(text)}"')

    assert text == json.loads(inner)


@pytest.mark.parametrize("template", TEMPLATES)
@given(TEXT, st.integers(0, 10**6))
def test_a_key_is_that_of_its_template(template: str, a: str, n: int) -> None:
    """Inside a JSON string, and as it is; its partition is counted from the latter."""
    key = key_of(template)
    wanted = key.render({"a": a, "n": str(n)})
    lines, made = key_template(key, {"a": A, "n": N})
    inside = ran([*lines, f"out = {f_string(made)}"], "out", a=a, n=n)

    assert wanted == json.loads(f'"{inside}"')
    assert wanted == evaluated(plain_key(key, {"a": A, "n": N}), a=a, n=n)


@pytest.mark.parametrize("size", ["", "len(v.encode())"])
@pytest.mark.parametrize("nested", [False, True])
@given(TEXT)
def test_a_token_is_escaped_once_or_twice(size: str, nested: bool, text: str) -> None:
    """Whether or not the text's length is known, by which most texts need no second look."""
    one = TextVariable(name="v", quoted=True, alphabet=None, size=size)
    token = ran(one.token_lines(nested=nested), one.token, v=text)

    assert text == (
        json.loads(json.loads(f'"\\"{token}\\""')) if nested else json.loads(f'"{token}"')
    )


def test_a_text_that_json_never_escapes_is_its_own_token() -> None:
    """Digits, dates and base64 take no line."""
    assert ([], "n", "nj") == (N.token_lines(nested=True), N.token, N.or_null)
    assert ("at", "aj") == (A.token, A.or_null)


@given(st.none() | TEXT, st.integers(0, 99))
def test_a_row_is_an_object_inside_a_string(a: str | None, n: int) -> None:
    """NULL is ``null``, a number is bare, a text is quoted; names are escaped too."""
    nullable = TextVariable(name="a", quoted=True, alphabet=None)
    line = row_line([("n", N, False), ('a"{}', nullable, True)], field=SELECTED)
    escaped = "null" if a is None else escaped_twice(a)
    value = ran([line], "value", n=n, aj=escaped)

    assert {"n": n, 'a"{}': a} == json.loads(json.loads("{" + value[1:] + "}")["value"])


@pytest.mark.parametrize(
    ("text", "null", "value"), [("x", True, '"value":"x",'), (None, True, ""), ("x", False,
     '"value":"x",')]
)  # fmt: skip
def test_a_column_that_is_null_leaves_the_value_out(
    text: str | None, null: bool, value: str
) -> None:
    """The field is not there at all."""
    assert value == ran([column_line(A, null=null)], "value", a=text, at=text)


@pytest.mark.parametrize("old_key", ["", "old"])
@pytest.mark.parametrize("value", [None, "v"])
def test_a_body_has_the_fields_in_the_order_of_the_contract(
    old_key: str, value: str | None
) -> None:
    """As `cdc.message.encode` writes a change."""
    field = f'"value":"{value}",' if value else ""
    made = evaluated(
        body("update", "s.t", "k", value=field, old_key=old_key),
        middle='"gtid":"g","id":"', id="1.2", prev="1.1", tail='","ts":5,"v":1}',
    )  # fmt: skip

    assert made == encode(
        Change(
            key="k", value=value, op="update", table="s.t", old_key=old_key or None, gtid="g",
            id="1.2", prev="1.1", ts=5,
        )
    )  # fmt: skip


def test_a_selected_row_has_key_and_value() -> None:
    """As `cdc.message.SnapshotRow` has them."""
    assert b'{"key":"t:7","value":"x"}' == evaluated(
        selected_row("t:{a}"), a="7", value=',"value":"x"'
    )


@given(TEXT)
def test_a_partition_is_counted_as_the_contract_does(a: str) -> None:
    """From the key as it is, not from its JSON form."""
    assert partition_of(f"t:{a}", 7) == evaluated(
        partition_number(plain_key(key_of("t:{a}"), {"a": A}), 7), a=a
    )


def test_a_source_is_a_function_with_its_constants() -> None:
    """Blocks are indented below their head; a traceback names the title."""
    source = FunctionSource("def generated(n):")
    name = source.constant("LIMIT", 3)
    with source.block("if n > LIMIT:"):
        source.add("return 'more'")
    source.add(f"return {name}")
    function = source.compile("a title")

    assert "def generated(n):\n    if n > LIMIT:\n        return 'more'\n    return LIMIT\n" == (
        source.text
    )
    assert ("more", 3) == (function(4), function(3))
    assert "<a title>" == function.__code__.co_filename
