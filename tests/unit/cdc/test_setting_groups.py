"""Which settings belong together, which a help shows, and how they are listed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc.setting_groups import GROUPS, SHOWN, Listed, grouped, lines, listed, names
from cdc.settings import SPECS, Settings, load
from cdc.table_settings import TABLE_HELP, TABLE_SHARED
from cdc.url import parse_url


def test_each_setting_is_in_one_group() -> None:
    """None is forgotten, none is listed twice, and the order is that of the settings."""
    members = [name for group in GROUPS.values() for name in group]

    assert sorted(members) == sorted([*SPECS, "tables", "exclude_tables"])


def test_a_help_shows_settings_that_exist() -> None:
    """And none of them twice."""
    known = {"tables", "exclude_tables", *TABLE_SHARED, *SPECS}

    assert {name: set(shown) - known for name, shown in SHOWN.items() if set(shown) - known} == {}
    assert [name for name, shown in SHOWN.items() if len(set(shown)) < len(shown)] == []


@pytest.mark.parametrize("command", sorted(SHOWN))
def test_the_headings_of_a_help_have_what_it_shows(command: str) -> None:
    """Each setting is under one heading."""
    under = [name for members in grouped(SHOWN[command]).values() for name in members]

    assert sorted(under) == sorted(SHOWN[command])


def test_a_command_that_only_looks_shows_no_setting_of_the_snapshot() -> None:
    """Nor of what a sink does: its help is read when something is wrong."""
    looking = ("dead list", "wait", "tail", "status", "verify", "check")
    never = {*GROUPS["snapshot"], *GROUPS["stream"], *GROUPS["sink"], "sinks"}

    assert {name for command in looking for name in SHOWN[command]} & never == set()


def test_all_settings_are_listed_with_those_of_a_table() -> None:
    """In the order of the groups."""
    found = listed(Settings())

    assert {one.name for one in found} == {*SPECS, "tables", "exclude_tables", *TABLE_HELP}
    assert list(dict.fromkeys(one.group for one in found)) == [*GROUPS, "table"]


def _only(settings: Settings, name: str) -> Listed:
    (one,) = (one for one in listed(settings) if one.name == name)
    return one


def test_a_setting_is_listed_with_all_that_is_known_of_it() -> None:
    """What ``cdc settings --json`` prints of one."""
    assert _only(Settings(stream_keep_s=60), "stream_keep_s").about() == {
        "group": "stream",
        "name": "stream_keep_s",
        "default": "86400",
        "unit": "s",
        "current": "60",
        "variable": "CDC_STREAM_KEEP_S",
        "flag": "--stream-keep-s",
        "help": SPECS["stream_keep_s"].help,
    }


@pytest.mark.parametrize(
    ("settings", "name", "current"),
    [
        (Settings(), "stream", None),
        (Settings(stream="OTHER"), "stream", '"OTHER"'),
        (Settings(snapshot=False), "snapshot", "false"),
        (Settings(heartbeat_s=0.5), "heartbeat_s", "0.5"),
        (load({"tables": ("shop.users", "shop.orders")}, {}), "tables", "shop.users, shop.orders"),
    ],
)
def test_a_value_is_shown_where_it_is_not_the_default(
    settings: Settings, name: str, current: str | None
) -> None:
    """As cdc.toml writes it."""
    assert _only(settings, name).current == current


@pytest.mark.parametrize(
    "url", ["mysql://cdc:Kanarienvogel@db/shop", "nats://Kanarienvogel@h:4222"]
)
def test_no_secret_is_listed(url: str) -> None:
    """Neither a password nor a token."""
    scheme = url.partition(":")[0]
    settings = replace(Settings(), **{scheme: parse_url(url, (scheme,))})  # type: ignore[arg-type]  # both are URLs

    assert "***" in str(_only(settings, scheme).current)
    assert "Kanarienvogel" not in "\n".join(lines(listed(settings)))


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("heartbeat", ["heartbeat_s", "heartbeat_idle_s", "heartbeat_early_bytes"]),
        ("--no-snapshot", ["snapshot"]),
        ("CDC_MYSQL_URL", ["mysql"]),
        ("Stream-Keep-S", ["stream_keep_s"]),
        ("log", ["report_every_s", "log_format", "log_level"]),
        ("ttl", ["ttl_s"]),
        ("table", ["tables", "exclude_tables", "new_tables_every_s", *TABLE_HELP]),
    ],
)
def test_a_word_chooses(word: str, found: list[str]) -> None:
    """A group, a part of a name, a flag or a variable."""
    assert [one.name for one in listed(Settings(), word)] == found


def test_a_word_that_is_in_no_name_is_answered_with_the_nearest() -> None:
    """A misspelt one, and one that is near nothing."""
    with pytest.raises(LookupError, match="did you mean 'heartbeat_s'"):
        listed(Settings(), "heartbaet_s")
    with pytest.raises(LookupError, match=r"^no setting 'xyzzy'$"):
        listed(Settings(), "xyzzy")


def test_every_name_that_is_offered_chooses_something() -> None:
    """What a shell completes is never refused."""
    assert all(listed(Settings(), name) for name in names())


def test_the_list_has_columns_under_headings() -> None:
    """A heading for each group; name, default with unit, flag, variable; then value and help."""
    settings = Settings(verify_every_s=60.0)

    assert list(lines(listed(settings, "verify"))) == [
        "verify",
        "  verify_every_s     0.0 s   --verify-every-s     CDC_VERIFY_EVERY_S",
        "      now: 60.0",
        f"      {SPECS['verify_every_s'].help}",
        "  verify_rows_per_s  0 rows  --verify-rows-per-s  CDC_VERIFY_ROWS_PER_S",
        f"      {SPECS['verify_rows_per_s'].help}",
    ]


def test_settings_of_one_table_have_a_heading_that_shows_their_section() -> None:
    """What is no flag has none."""
    shown = list(lines(listed(Settings(), "mode")))

    assert shown[0] == '[tables."shop.users"]  settings of one table'
    assert shown[1] == "  mode  -"
