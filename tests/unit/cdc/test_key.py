"""Key templates: rows to keys, distinct rows to distinct keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import UsageError
from cdc.key import KeyTemplate, escaped, is_only_of, parse_template, refuse_own

USERS = parse_template("{table}:{pk}", schema="s", table="users", pk=("id",))
LINES = parse_template("{table}:{pk}:x", schema="s", table="users", pk=("a", "b"))
ANY = parse_template("{pk}", schema="s", table="t", pk=("id",))


def template(text: str, *, pk: tuple[str, ...] = ("id",)) -> KeyTemplate:
    """Return a template of shop.users with the columns id, a, b and your_key."""
    columns = ("id", "a", "b", "your_key", "p%")
    return parse_template(text, schema="shop", table="users", pk=pk, columns=columns)


def test_default_key_is_table_and_primary_key() -> None:
    """Without --key a row is found under its table's name and its primary key."""
    assert template("{table}:{pk}").render({"id": "42"}) == "users:42"


def test_a_single_value_stays_as_it_is() -> None:
    """The plainest form: the column's value is the key, colons included."""
    assert template("{your_key}").render({"your_key": "user:123"}) == "user:123"


def test_composite_keys_are_escaped_so_that_they_stay_distinct() -> None:
    """("a:b", "c") and ("a", "b:c") are two rows and two keys."""
    t = template("{table}:{pk}", pk=("a", "b"))

    assert t.render({"a": "a:b", "b": "c"}) == "users:a%3Ab:c"
    assert t.render({"a": "a", "b": "b:c"}) == "users:a:b%3Ac"


@given(
    separator=st.sampled_from([":", "-", "::", "-x-", "/%/", "é|", "#1"]),
    one=st.tuples(st.text(max_size=6), st.text(max_size=6)),
    other=st.tuples(st.text(max_size=6), st.text(max_size=6)),
    alphabet=st.sampled_from(["", ":-x/%é|#1"]),
    data=st.data(),
)
def test_distinct_values_give_distinct_keys(
    separator: str,
    one: tuple[str, str],
    other: tuple[str, str],
    alphabet: str,
    data: st.DataObject,
) -> None:
    """Whatever stands in the values, two rows never share a key (invariant 4)."""
    if alphabet:
        texts = st.text(alphabet, max_size=5)
        one = (data.draw(texts), data.draw(texts))
        other = (data.draw(texts), data.draw(texts))
    t = template("k:{a}" + separator + "{b}")
    keys = {t.render({"a": a, "b": b}) for a, b in {one, other}}

    assert len(keys) == len({one, other})


def test_every_key_of_a_template_is_one_that_it_may_have_made() -> None:
    """The check for bare messages never refuses a key of the template's own."""
    t = template("u:{a}:x:{b}:end")

    assert t.may_have_made(t.render({"a": "1", "b": "2"}))
    assert not t.may_have_made("u:1:x:2")
    assert not t.may_have_made("session:9")
    assert not t.may_have_made("u:1:y:2:end")


def test_literals_do_not_overlap_in_the_check() -> None:
    """A key shorter than the template's literals cannot be its own."""
    assert not template("aa{a}aa").may_have_made("aaa")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{nope}", "no column 'nope'"),
        ("users", "names no column"),
        ("{a}{b}", "no separator"),
        ("{a}7{b}", "no separator"),
        ("{a", "expected '}'"),
        ("{a!r}", "a column's name in braces"),
        ("{a:>8}", "a column's name in braces"),
        ("{}", "a column's name in braces"),
    ],
)
def test_a_template_that_cannot_work_is_refused(text: str, says: str) -> None:
    """A typo in a template is one clear error before anything starts."""
    with pytest.raises(UsageError) as error:
        template(text)

    assert says in error.value.seen


def test_braces_may_be_literal() -> None:
    """A brace written twice stands in the key once, for Redis Cluster's hash tags."""
    t = template("{{shop}}:{id}")

    assert t.render({"id": "1"}) == "{shop}:1"
    assert t.literal_prefix == "{shop}:"


@pytest.mark.parametrize("text", ["cdc:{id}", "cdc:users:{id}", "cdc:{table}:{pk}"])
def test_keys_below_the_prefix_of_cdc_are_refused_at_the_start(text: str) -> None:
    """All rows would become dead letters."""
    with pytest.raises(UsageError, match=r"'cdc:.*shop.users: keys that begin with cdc: are for"):
        refuse_own(template(text), "shop.users")


@pytest.mark.parametrize("text", ["cdc{id}", "{id}", "c:{id}", "users:cdc:{id}"])
def test_other_templates_are_not_refused(text: str) -> None:
    """What a row makes of them is looked at by the sink."""
    assert refuse_own(template(text), "shop.users").text == text


def test_a_key_that_another_table_may_have_made_is_left() -> None:
    """Where two templates begin alike, what may be the other's row stays."""
    assert is_only_of("users:1", USERS, [LINES])
    assert not is_only_of("users:1:2:x", USERS, [LINES])
    assert not is_only_of("carts:1", USERS, [])


def test_a_template_without_a_beginning_claims_nothing() -> None:
    """It could have made every key; its own rows are not swept either."""
    assert is_only_of("users:1", USERS, [ANY])


def test_signs_of_patterns_stand_for_themselves() -> None:
    """A table called a*b does not sweep that called axb."""
    assert escaped("a*[b]?\\:") == "a\\*\\[b\\]\\?\\\\:"
