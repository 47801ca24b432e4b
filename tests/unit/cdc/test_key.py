"""Key templates: rows to keys, distinct rows to distinct keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import UsageError
from cdc.key import KeyTemplate, Templates, escaped, is_only_of, parse_template, refuse_own

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


@given(a=st.text(":%é-x1", max_size=5), b=st.text(":%é-x1", max_size=5))
@pytest.mark.parametrize("text", ["k:{a}:{b}", "{a}-{b}", "k:{a}é|{b}:end", "k:{a}:{a}:{b}"])
def test_a_key_gives_back_what_it_was_made_of(text: str, a: str, b: str) -> None:
    """Whatever is in the values."""
    t = template(text)

    assert t.columns_of(t.render({"a": a, "b": b})) == {"a": a, "b": b}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("k:{a}:{b}", "k:1"),
        ("k:{a}:{b}", "x:1:2"),
        ("k:{a}:{b}", "k:1:2:3"),  # a colon in a value is escaped
        ("k:{a}:{b}", "k:1%3a:2"),  # the escape is in upper case
        ("k:{a}:{a}", "k:1:2"),  # one column has one value
        ("k:{a}:end", "k:1"),
    ],
)
def test_a_key_that_no_row_has_gives_nothing(text: str, key: str) -> None:
    """It is never taken for a row with other values."""
    assert template(text).columns_of(key) is None


def test_one_value_is_given_back_as_it_is() -> None:
    """Nothing in it is escaped, so nothing is replaced."""
    assert template("u:{a}").columns_of("u:x%3A:\n") == {"a": "x%3A:\n"}


@pytest.mark.parametrize(
    ("one", "other", "may_share"),
    [
        ("users:{id}", "users:{a}:x", True),
        ("users:{id}", "users:by:{a}", True),
        ("{id}", "users:{id}", True),
        ("users:{id}", "carts:{id}", False),
        ("users:{id}", "users2:{id}", False),
    ],
)
def test_templates_that_begin_differently_share_no_key(
    one: str, other: str, may_share: bool
) -> None:
    """It is the same from both sides."""
    assert template(one).begins_as(template(other)) is may_share
    assert template(other).begins_as(template(one)) is may_share


def test_a_constant_template_has_made_its_own_text_only() -> None:
    """The key of an index of all rows."""
    constant = parse_template("by:n", schema="s", table="t", pk=("id",), may_be_constant=True)

    assert constant.may_have_made("by:n")
    assert not constant.may_have_made("by:n2")


def test_literals_are_found_in_their_order() -> None:
    """Also where a template begins or ends with a column."""
    t = template("{a}:x:{b}:y:{id}")

    assert t.may_have_made("1:x:2:y:3")
    assert not t.may_have_made("1:y:2:x:3")


def test_templates_are_found_by_what_a_key_begins_with() -> None:
    """In the order in which they came, with those that begin with a column."""
    names = ("users:{id}", "{a}", "users:by:{a}", "carts:{id}", "users:{a}:x")
    templates = Templates([(template(name), name) for name in names])

    assert list(templates.of("users:by:7:x")) == [names[n] for n in (0, 1, 2, 4)]
    assert list(templates.of("carts:7")) == ["{a}", "carts:{id}"]
    assert list(templates.of("u")) == ["{a}"]
