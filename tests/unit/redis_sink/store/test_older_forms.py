"""Templates that keys were once made by: kept until a refresh has removed the keys."""

from __future__ import annotations

from dataclasses import replace

from cdc.key import parse_template
from cdc.table import Index, Table
from redis_sink.store.older_forms import Form, forms_of, merged, with_key

USERS = Table(
    schema="shop", name="users", columns=(), identity=("id",), chunk_key=("id",),
    key=parse_template("users:{id}", schema="shop", table="users", pk=("id",)),
    value_column=None, model="string",
)  # fmt: skip
ALL = parse_template("all", schema="shop", table="users", pk=("id",), may_be_constant=True)


def test_the_forms_of_now_are_kept_before_a_key_is_written() -> None:
    """Nothing is older on a first start, and nothing is written twice."""
    anew, older = merged({}, [USERS])

    assert (anew, older) == ({"shop.users": [(None, "users:{id}")]}, {})
    assert merged(anew, [USERS]) == ({}, {})


def test_another_number_of_key_columns_is_another_form() -> None:
    """Of ``{pk}`` alone: one column's text is as it is, several are told apart by their signs."""
    one = replace(USERS, key=parse_template("t:{pk}", schema="s", table="t", pk=("id",)))
    two = with_key(one, ("id", "name"))
    kept: dict[str, list[Form]] = {"shop.users": forms_of(one)}
    changed, older = merged(kept, [two])

    assert forms_of(one) == [(None, "t:{pk}")]
    assert changed == {"shop.users": [(None, "t:{pk}"), (None, "t:{pk1}:{pk2}")]}
    assert [ground.template.columns for ground in older["shop.users"]] == [("pk",)]
    assert two.key.render({"id": "7", "name": "a:b"}) == "t:7:a%3Ab"
    assert forms_of(with_key(USERS, ("id", "name"))) == forms_of(USERS)


def test_a_template_and_an_index_that_are_gone_are_older() -> None:
    """Until a refresh they are kept beside those of now, in whatever order settings change."""
    indexed = replace(USERS, indexes=(Index(kind="set", key=ALL, score=None, member=None),))
    kept: dict[str, list[Form]] = {
        "shop.users": [(None, "old:{id}"), *forms_of(indexed)],
        "shop.gone": [(None, "g:{id}")],
    }
    bare: dict[str, list[Form]] = {"shop.users": [(None, "{id}")]}
    anew, older = merged(kept, [USERS])

    assert anew == {}
    assert [(ground.kind, ground.template.text) for ground in older["shop.users"]] == [
        (None, "old:{id}"), ("set", "all"),
    ]  # fmt: skip
    assert merged(kept, [indexed])[1]["shop.users"][0].template.literal_prefix == "old:"
    assert merged(bare, [USERS])[1] == {}
