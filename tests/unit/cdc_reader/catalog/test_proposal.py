"""How tables could be captured: with which key, without which columns, or why not."""

from __future__ import annotations

from collections.abc import Sequence

from cdc.init.proposal import Proposal
from cdc.table import Column
from cdc.table_settings import TableSettings
from cdc_reader.catalog.dialect import NEWEST, Dialect
from cdc_reader.catalog.entry import Entry
from cdc_reader.catalog.proposal import Described, propose, propose_all
from cdc_reader.catalog.selection import Selected
from cdc_reader.catalog.unique_key import Key, UniqueKeys

MARIADB = Dialect(mariadb=True, version=(11, 8, 9))


def column(
    name: str,
    data_type: str = "int",
    charset: str | None = None,
    *,
    nullable: bool = False,
    extra: str = "",
) -> Column:
    return Column(
        name=name,
        data_type=data_type,
        column_type=data_type,
        charset=charset,
        nullable=nullable,
        extra=extra,
    )


ID, PLACE = column("id"), column("place", "point")
GENERATED = column("g", extra="STORED GENERATED")


def found(
    name: str = "shop.users",
    columns: Sequence[Column] = (ID,),
    keys: Sequence[Key] = (("id",),),
    *,
    kind: str = "BASE TABLE",
    engine: str = "InnoDB",
    key: str | None = None,
    partial: Sequence[tuple[Key, str]] = (),
) -> Described:
    schema, _, table = name.partition(".")
    one = Selected(
        entry=Entry(schema=schema, name=table, kind=kind, engine=engine),
        wanted=TableSettings(name=name, key=key),
    )
    return one, columns, UniqueKeys(tuple(keys), tuple(partial), keys[0] if keys else ())


def only(one: Described, dialect: Dialect = NEWEST) -> Proposal:
    proposal, table = propose(*one, dialect)
    assert (table is not None) == (proposal.state == "captured")
    return proposal


def test_a_table_with_a_key_is_captured_as_it_is() -> None:
    """By its primary key, or by another unique one."""
    assert only(found()) == Proposal(table="shop.users", state="captured", about="primary key (id)")
    one, columns, keys = found(keys=[("id",)])
    unique = only((one, columns, keys._replace(primary=())))
    assert unique.about == "unique key (id)"


def test_columns_that_cannot_be_carried_are_left_out() -> None:
    """A type, a character set; a generated one where the binlog lacks it."""
    columns = (ID, PLACE, column("t", "text", "gbk"), GENERATED)
    on_mysql, on_mariadb = (only(found(columns=columns), on) for on in (NEWEST, MARIADB))

    assert on_mysql.settings == (("exclude", ("place", "t")),)
    assert on_mariadb.settings == (("exclude", ("place", "t", "g")),)
    assert on_mysql.why == (
        "columns that cannot be carried are left out: place (type point), t (character set gbk)",
    )


def test_a_key_that_cannot_be_carried_excludes_the_table() -> None:
    """With the reason of a start."""
    one = only(found(columns=(column("id", "varchar", "gbk"), column("n"))))

    assert one.state == "excluded"
    assert "cannot be carried exactly" in one.why[0]


def test_views_and_engines_are_excluded_with_their_reason() -> None:
    """And what would change it."""
    view, hot = only(found(kind="VIEW")), only(found(engine="MEMORY"))

    assert (view.state, hot.state) == ("excluded", "excluded")
    assert "is a view" in view.why[0]
    assert "ENGINE = MEMORY" in hot.why[0]
    assert hot.fix == ("ALTER TABLE `shop`.`users` ENGINE = InnoDB;",)


def test_a_table_without_a_key_shows_the_columns_to_choose_from() -> None:
    """Those that are NOT NULL first; never a long text; the statement that makes a key."""
    columns = (column("a"), column("b", nullable=True), column("t", "text", "utf8mb4"), PLACE)
    one = only(found(columns=columns, keys=[]))

    assert one.state == "needs key"
    assert one.settings == (("key", "{table}:{a}"), ("exclude", ("place",)))
    assert "neither a primary key" in one.why[0]
    assert one.fix[0].startswith("Either: ALTER TABLE `shop`.`users` ADD COLUMN `cdc_id`")
    assert one.fix[1].endswith(": a int NOT NULL, b int, t text NOT NULL")


def test_a_key_on_a_part_and_a_counter_are_proposed_first() -> None:
    """They tell rows apart already."""
    part = only(found(columns=(ID, column("k", "text", "utf8mb4")), keys=[],
                      partial=[(("k",), "k(3)")]))  # fmt: skip
    counter = column("n", extra="auto_increment")
    counted = only(found(columns=(ID, counter), keys=[]))

    assert part.settings == (("key", "{table}:{k}"),)
    assert counted.settings == (("key", "{table}:{n}"),)


def test_tables_of_one_name_get_keys_with_their_database() -> None:
    """As does a table whose keys would begin as those of cdc."""
    proposals = propose_all(
        [found("shop.users"), found("crm.users"), found("shop.cdc"), found("shop.other")], NEWEST
    )
    keys = {one.table: dict(one.settings).get("key") for one in proposals}

    assert keys == {
        "shop.users": "{schema}.{table}:{pk}",
        "crm.users": "{schema}.{table}:{pk}",
        "shop.cdc": "{schema}.{table}:{pk}",
        "shop.other": None,
    }


def test_tables_that_would_still_share_keys_are_not_captured_together() -> None:
    """The first stays; each other names one that it could be taken for."""
    text = (column("id", "varchar", "utf8mb4"),)
    proposals = propose_all(
        [found("shop.a", text), found("shop.a:b", text), found("shop.a:b:c", text)], NEWEST
    )
    states = {one.table: one.state for one in proposals}

    assert states == {"shop.a": "captured", "shop.a:b": "excluded", "shop.a:b:c": "excluded"}
    assert "could have the same key" in proposals[1].why[0]


def test_a_template_that_was_given_is_kept() -> None:
    """Then nothing is put in its place."""
    one, two = (found(name, key="k:{table}:{pk}") for name in ("shop.users", "crm.users"))
    proposals = propose_all([one, two], NEWEST)

    assert proposals[0].settings in ((("key", "k:{table}:{pk}"),), ())
    assert sorted(proposal.state for proposal in proposals) == ["captured", "excluded"]
