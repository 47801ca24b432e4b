"""One setting: its names, its limits, and how a text or a TOML value becomes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import CdcError, SettingsError, UsageError
from cdc.setting import Problems, Program, nearest, setting, specs_of
from cdc.url import Url


@dataclass
class Example:
    """A setting of each kind, and a field that is none."""

    count: int = setting(5, "a", unit="rows", low=1, high=9)
    wait_s: float = setting(1.5, "b", unit="s", low=0)
    colour: Literal["red", "green"] = setting("red", "c")
    name: str = setting("x", "d", pattern="[a-z]+")
    snapshot: bool = setting(True, "e", off_help="Skip it.")
    check_only: bool = setting(False, "f")
    most: int | None = setting(None, "g")
    nats: Url = setting(  # noqa: RUF009 - a Url is frozen
        "nats://127.0.0.1:4222", "h", schemes=("nats", "tls")
    )
    other: int = 7


SPECS = specs_of(Example)


def test_every_field_that_was_made_as_a_setting_is_one() -> None:
    """With the kind that its annotation has: None is not one, choices are a tuple."""
    assert {
        "count": int,
        "wait_s": float,
        "colour": ("red", "green"),
        "name": str,
        "snapshot": bool,
        "check_only": bool,
        "most": int,
        "nats": Url,
    } == {name: spec.kind for name, spec in SPECS.items()}


def test_a_switch_that_is_on_has_a_help_for_turning_it_off() -> None:
    """Its flag is --no-snapshot; the help of any other flag is that of the setting."""
    assert (SPECS["snapshot"].help, SPECS["snapshot"].flag_help) == ("e", "Skip it.")
    assert SPECS["count"].flag_help == SPECS["count"].help == "a"


@pytest.mark.parametrize(
    ("name", "env", "flag", "default", "limits"),
    [
        ("count", "CDC_COUNT", "--count", "5", "1 to 9"),
        ("wait_s", "CDC_WAIT_S", "--wait-s", "1.5", "at least 0"),
        ("colour", "CDC_COLOUR", "--colour", '"red"', ""),
        ("snapshot", "CDC_SNAPSHOT", "--no-snapshot", "true", ""),
        ("check_only", "CDC_CHECK_ONLY", "--check-only", "false", ""),
        ("nats", "CDC_NATS_URL", "--nats", '"nats://127.0.0.1:4222"', ""),
    ],
)
def test_a_setting_has_one_name_in_each_place(
    name: str, env: str, flag: str, default: str, limits: str
) -> None:
    """A switch that is on is turned off by its flag; an address ends in URL."""
    spec = SPECS[name]

    assert (env, flag, default, limits) == (
        spec.env,
        spec.flag,
        spec.default_text,
        spec.limits_text,
    )


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("count", " 7 ", 7),
        ("count", "1", 1),
        ("count", "9", 9),
        ("most", "1_000", 1000),
        ("wait_s", "0", 0.0),
        ("wait_s", "2.5", 2.5),
        ("colour", "green", "green"),
        ("name", "abc", "abc"),
        ("snapshot", "TRUE", True),
        ("snapshot", "1", True),
        ("snapshot", "False", False),
        ("snapshot", "0", False),
    ],
)
def test_a_text_becomes_a_value_of_the_settings_type(name: str, text: str, value: Any) -> None:
    """Of a flag or a variable; limits are allowed themselves."""
    found = SPECS[name].from_text(text)

    assert (value, type(value)) == (found, type(found))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("count", "0"),
        ("count", "10"),
        ("count", "1.0"),
        ("count", ""),
        ("wait_s", "-0.1"),
        ("wait_s", "nan"),
        ("wait_s", "soon"),
        ("colour", "Red"),
        ("name", "abc1"),
        ("name", "abc\nd"),
        ("snapshot", "yes"),
        ("nats", "redis://h"),
    ],
)
def test_a_text_that_is_no_value_is_refused(name: str, text: str) -> None:
    """Each with its own limit, form or choice."""
    with pytest.raises((ValueError, CdcError)):
        SPECS[name].from_text(text)


@pytest.mark.parametrize(
    ("name", "value", "is_taken"),
    [
        ("count", 5, True),
        ("count", True, False),
        ("count", "5", False),
        ("count", 5.0, False),
        ("wait_s", 2, True),
        ("wait_s", True, False),
        ("snapshot", 1, False),
        ("snapshot", False, True),
        ("colour", 1, False),
        ("name", 1, False),
        ("nats", 4222, False),
        ("nats", "tls://h", True),
    ],
)
def test_a_value_of_toml_has_the_settings_type(name: str, value: Any, is_taken: bool) -> None:
    """No text for a number, and no number for a switch; a whole number is a number."""
    if is_taken:
        assert SPECS[name].checked(value) is not None
        return
    with pytest.raises(ValueError, match="must be"):
        SPECS[name].checked(value)


def test_a_whole_number_becomes_a_float_where_one_is_wanted() -> None:
    """So that all arithmetic is of one type."""
    assert float is type(SPECS["wait_s"].checked(2))


def test_a_typo_names_the_nearest_choice() -> None:
    """And a value that is near to none names none."""
    with pytest.raises(ValueError, match="did you mean 'green'"):
        SPECS["colour"].from_text("gren")
    with pytest.raises(ValueError, match=r"not 'xyz'$"):
        SPECS["colour"].from_text("xyz")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tabels", "; did you mean 'tables'?"),
        ("TABLES", "; did you mean 'tables'?"),
        ("straem", "; did you mean 'Stream'?"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_the_nearest_name_is_found_whatever_its_case(name: str, hint: str) -> None:
    """Given as it is written."""
    assert hint == nearest(name, ["tables", "Stream"])


@given(st.lists(st.text("abc", min_size=1), min_size=1), st.data())
def test_a_name_that_is_known_is_its_own_nearest(known: list[str], data: st.DataObject) -> None:
    """Nothing is nearer than the same."""
    name = data.draw(st.sampled_from(known))

    assert f"; did you mean {name!r}?" == nearest(name, known)


@pytest.mark.parametrize(
    ("wheres", "kind", "lines"),
    [
        (["--count"], UsageError, 1),
        (["--count", "--name"], UsageError, 3),
        (["CDC_COUNT"], SettingsError, 1),
        (["cdc.toml", "--count"], SettingsError, 3),
    ],
)
def test_all_problems_are_raised_together(
    wheres: list[str], kind: type[CdcError], lines: int
) -> None:
    """Of flags alone it is an error of usage; one problem has no list."""
    problems = Problems([], [])
    for where in wheres:
        problems.add(where, "must be a number")
    with pytest.raises(CdcError) as refused:
        problems.raise_if_any()

    assert kind is type(refused.value)
    assert lines == len(refused.value.seen.splitlines())
    assert [] == [where for where in wheres if where not in refused.value.seen]


def test_no_problem_raises_nothing_and_no_problem_shows_a_password() -> None:
    """A URL may be what is wrong."""
    problems = Problems([], [])
    problems.raise_if_any()
    problems.add("--mysql", "cannot be mysql://root:secret@h")
    with pytest.raises(UsageError) as refused:
        problems.raise_if_any()

    assert "secret" not in refused.value.text()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", ()),
        ("token", ("token",)),
        (" token  --for 'the sink' a\\ b \"c d\" ", ("token", "--for", "the sink", "a b", "c d")),
        ("token $HOME | cat", ("token", "$HOME", "|", "cat")),
        (["token", "--for", "the sink", ""], ("token", "--for", "the sink", "")),
    ],
)
def test_a_program_is_words_that_no_shell_sees(given: object, words: tuple[str, ...]) -> None:
    """A text has quotes as in a shell and nothing else of it; a list is as it is."""
    program = Program.parse(given)

    assert program == words
    assert Program.parse(str(program)) == program


@pytest.mark.parametrize("given", [7, ["token", 7], {"token": 1}, "'token", None])
def test_what_is_no_program_is_refused(given: object) -> None:
    """Another type, or a quote that is not closed."""
    with pytest.raises(ValueError, match=r"a list of texts|not closed"):
        Program.parse(given)
