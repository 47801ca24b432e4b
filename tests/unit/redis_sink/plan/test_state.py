"""The last state of each key, field and member, and the commands that write it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.key import KeyTemplate, parse_template
from cdc.message import Change, Delivery, Member, SnapshotRow
from cdc.table import Column, Index, Table
from redis_sink.plan import state
from redis_sink.plan.batch import Command
from redis_sink.plan.state import Model, Part, States, key_state, live_of, live_part, part_of

D: Delivery = (1, b"mysql.insert", b"{}")
STRING = Model(is_hash=False, has_field=False, has_index=False, ttl_s=0)
HASH = STRING._replace(is_hash=True)


def change(key: str = "k", value: str | None = None, **more: Any) -> Change:
    """Return a change of shop.t."""
    return Change(key=key, value=value, op="update", table="shop.t", id="1", prev="", ts=1, **more)


def commands(states: States) -> list[Command]:
    """Return the commands of states that refuse nothing."""
    refused: list[str] = []
    found = states.commands(lambda delivery, reason, key: refused.append(key))
    assert refused == []
    return found


def taken(*rows: Change | SnapshotRow, model: Model = STRING) -> States:
    """Return what rows leave."""
    states = States()
    for row in rows:
        states.take(model, row, D)
    return states


@pytest.mark.parametrize(
    ("model", "value", "wanted"),
    [
        (STRING, "v", [("MSET", "k", "v")]),
        (STRING, None, [("UNLINK", "k")]),
        (STRING._replace(ttl_s=9), "v", [("SET", "k", "v", "EX", "9")]),
        (STRING._replace(ttl_s=9), None, [("UNLINK", "k")]),
        (HASH, '{"a":1,"b":null}', [("UNLINK", "k"), ("HSET", "k", "a", b"1")]),
        (HASH, '{"a":null}', [("UNLINK", "k")]),
        (HASH, None, [("UNLINK", "k")]),
        (
            HASH._replace(ttl_s=9),
            '{"a":1}',
            [("UNLINK", "k"), ("HSET", "k", "a", b"1"), ("EXPIRE", "k", "9")],
        ),
        (HASH._replace(ttl_s=9), '{"a":null}', [("UNLINK", "k")]),
    ],
)
def test_a_row_is_written_as_its_table_is_kept(
    model: Model, value: str | None, wanted: list[Command]
) -> None:
    """A hash is replaced whole: a field that is NULL now must not stay."""
    assert wanted == commands(taken(change(value=value), model=model))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.text(max_size=3)), max_size=12))
def test_only_the_last_state_of_a_key_is_written(rows: list[tuple[str, str | None]]) -> None:
    """Whatever came before; all strings in one MSET, all that is gone in one UNLINK."""
    found = commands(taken(*(change(key, value) for key, value in rows)))
    redis: dict[str, str] = {}
    for verb, *args in found:
        if verb == "UNLINK":
            assert [] == [key for key in args if key in redis]
        else:
            redis |= dict(zip(map(str, args[::2]), map(str, args[1::2]), strict=True))

    assert {key: value for key, value in dict(rows).items() if value is not None} == redis
    assert len({verb for verb, *_ in found}) == len(found)


def test_a_row_that_moves_leaves_its_old_key() -> None:
    """And one that comes back to it later is there again."""
    moved = taken(change("a", "1"), change("b", "1", old_key="a"))

    assert [("UNLINK", "a"), ("MSET", "b", "1")] == commands(moved)
    moved.take(STRING, change("a", "2"), D)
    assert [("MSET", "a", "2", "b", "1")] == commands(moved)


def test_a_field_that_moves_leaves_its_old_one() -> None:
    """In its own hash, or in that of another parent; its parents' keys stay."""
    rows = [
        change("p", "1", field="x", old_key="p", old_field="w"),
        change("q", "2", field="y", old_key="o", old_field="y"),
        change("p", None, field="z"),
    ]
    assert [
        ("HDEL", "p", "w", "z"),
        ("HSET", "p", "x", "1"),
        ("HDEL", "o", "y"),
        ("HSET", "q", "y", "2"),
    ] == commands(taken(*rows))


def test_an_old_key_without_an_old_field_leaves_the_parent_alone() -> None:
    """Other rows are in it."""
    assert [("HSET", "p", "x", "1")] == commands(taken(change("p", "1", field="x", old_key="p")))


def test_entries_of_an_index_come_and_go() -> None:
    """A new one wins over an old one of the same message; a score is written again."""
    row = change(
        "k",
        "v",
        index=(Member(set="s", member="k"), Member(zset="z", member="k", score="2")),
        old_index=(Member(zset="z", member="k"), Member(set="t", member="k")),
    )
    states = taken(row)

    assert [
        ("MSET", "k", "v"),
        ("ZADD", "z", "2", "k"),
        ("SREM", "t", "k"),
        ("SADD", "s", "k"),
    ] == commands(states)
    assert {"z": "zset", "t": "set", "s": "set"} == states.shared


def test_what_is_alive_is_listed_for_a_refresh() -> None:
    """Keys by themselves, parts by kind, key and name; not what is gone."""
    states = taken(
        change("a", "1", index=(Member(set="s", member="a"),)),
        change("b", None, old_index=(Member(set="s", member="b"),)),
        SnapshotRow(key="p", value="v", field="x"),
    )

    assert {"a", "\0set\0001\0sa", "\0hash\0001\0px"} == set(states.live)
    assert ["p"] == live_of(SnapshotRow(key="p", value="v"))
    assert [live_part("hash", "p", "x"), live_part("zset", "z", "m")] == live_of(
        change("p", field="x", index=(Member(zset="z", member="m", score="1"),))
    )


@given(st.text(), st.text(), st.text(), st.text())
def test_no_two_parts_have_one_entry(key: str, name: str, other_key: str, other: str) -> None:
    """The length of the key tells where the name begins."""
    same = (key, name) == (other_key, other)

    assert same == (live_part("set", key, name) == live_part("set", other_key, other))
    assert live_part("set", key, name) != live_part("zset", key, name)


def test_a_hash_that_is_no_object_is_refused_and_the_rest_is_written() -> None:
    """With the delivery that it came from, the reason without its text, and its key."""
    states = taken(change("a", "secret"), change("b", '{"x":1}'), model=HASH)
    refused: list[tuple[Delivery, str, str]] = []
    found = states.commands(lambda *about: refused.append(about))
    ((delivery, reason, key),) = refused

    assert (D, "a") == (delivery, key)
    assert "secret" not in reason
    assert [("UNLINK", "b"), ("HSET", "b", "x", b"1")] == found


@pytest.mark.parametrize(
    ("member", "part"),
    [
        (Member(set="s", member="m"), Part("set", "s", "m")),
        (Member(zset="z", member="m", score="1"), Part("zset", "z", "m")),
        (Member(member="m"), None),
        (Member(set="s", zset="z", member="m"), None),
    ],
)
def test_an_entry_is_of_a_set_or_of_a_sorted_set(member: Member, part: Part | None) -> None:
    """What is of neither, or of both, is refused."""
    if part is not None:
        assert part == part_of(member)
        return
    with pytest.raises(ValueError, match="index entry"):
        part_of(member)


def template(text: str) -> KeyTemplate:
    """Return a key template of shop.t."""
    return parse_template(text, schema="shop", table="t", pk=("id",), may_be_constant=True)


PLAIN = Table(
    schema="shop",
    name="t",
    columns=(Column(name="id", data_type="int", column_type="int", charset=None, nullable=False),),
    identity=("id",),
    chunk_key=("id",),
    key=template("t:{id}"),
    value_column=None,
    model="string",
)
INDEX = Index(kind="zset", key=template("all"), score="id", member=None)


@pytest.mark.parametrize(
    ("table", "model", "is_usual"),
    [
        (PLAIN, (False, False, False, 0), True),
        (dataclasses.replace(PLAIN, model="hash"), (True, False, False, 0), True),
        (dataclasses.replace(PLAIN, field=template("{id}"), model="hash"),
         (True, True, False, 0), False),
        (dataclasses.replace(PLAIN, indexes=(INDEX,)), (False, False, True, 0), False),
        (dataclasses.replace(PLAIN, ttl_s=60), (False, False, False, 60), False),
    ],
)  # fmt: skip
def test_what_is_kept_as_usual_takes_the_compiled_path(
    table: Table, model: tuple[bool, bool, bool, int], is_usual: bool
) -> None:
    """A key for each row, and nothing else."""
    found = state.model_of(table)

    assert (model, is_usual) == (tuple(found), found.is_usual)


def test_a_tables_templates_come_with_what_their_keys_are() -> None:
    """Its own first, then those of its indexes; None is a key for each row."""
    table = dataclasses.replace(PLAIN, field=template("{id}"), indexes=(INDEX,))

    assert [("shop.t", PLAIN.key, None)] == [tuple(g) for g in state.grounds_of(PLAIN)]
    assert [("shop.t", PLAIN.key, "hash"), ("shop.t", INDEX.key, "zset")] == [
        tuple(g) for g in state.grounds_of(table)
    ]


@pytest.mark.parametrize("model", [STRING, HASH, STRING._replace(ttl_s=1)])
def test_a_row_without_a_value_has_no_key(model: Model) -> None:
    """Whatever its table: its one column is NULL, or it was deleted."""
    assert key_state(model, None, D) is None
