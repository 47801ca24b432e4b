"""Settings: precedence, all problems at once, and that file and docs know every one."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cdc.errors import EXIT_CODES, SettingsError, UsageError
from cdc.setting import Program
from cdc.settings import SPECS, Settings, load
from cdc.table_settings import TABLE_HELP, TABLE_SHARED, TableSettings
from cdc.url import SecretSource, Url

ROOT = Path(__file__).parents[3]
CANARY = "Kanarienvogel"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder: a ``cdc.toml`` of the developer's must not count."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def toml(folder: Path, text: str) -> Path:
    path = folder / "cdc.toml"
    path.write_text(text)
    return path


# -- where a value comes from ----------------------------------------------------------


def test_without_anything_the_defaults_hold() -> None:
    """Nothing given: the three servers on this machine."""
    settings = load({}, {})

    assert settings == Settings()
    assert str(settings.mysql) == "mysql://root@127.0.0.1:3306"


def test_flag_goes_before_environment_before_file_before_default(elsewhere: Path) -> None:
    """The first of the four that has a value wins."""
    toml(elsewhere, 'pipeline = "file"\nstream = "FILE"\nsubject_prefix = "file"')
    env = {"CDC_PIPELINE": "env", "CDC_STREAM": "ENV"}
    settings = load({"pipeline": "flag"}, env)

    assert (settings.pipeline, settings.stream) == ("flag", "ENV")
    assert (settings.subject_prefix, settings.log_level) == ("file", "info")


def test_the_file_is_config_or_the_variable_or_cdc_toml(elsewhere: Path) -> None:
    """``--config`` goes before ``$CDC_CONFIG`` before ``./cdc.toml``."""
    toml(elsewhere, 'stream = "HERE"')
    for name in ("a", "b"):
        (elsewhere / f"{name}.toml").write_text(f'stream = "{name}"')
    env = {"CDC_CONFIG": "b.toml"}

    assert load({}, {}).stream == "HERE"
    assert load({}, env).stream == "b"
    assert load({}, env, Path("a.toml")).stream == "a"


@pytest.mark.parametrize("name", SPECS)
def test_every_setting_can_be_given_in_all_places(name: str, elsewhere: Path) -> None:
    """Its default, written as a flag, a variable or a line of the file, gives the default."""
    spec = SPECS[name]
    text = str(spec.default).lower() if isinstance(spec.default, bool) else str(spec.default)
    toml(elsewhere, f"{name} = {spec.default_text}")

    assert getattr(load({}, {}), name) == spec.default
    assert getattr(load({}, {spec.env: text}), name) == spec.default
    assert getattr(load({name: text}, {}), name) == spec.default


def test_secrets_come_from_files(elsewhere: Path) -> None:
    """URL and password each have a twin that names a file."""
    (elsewhere / "password").write_text(f"{CANARY}\n")
    (elsewhere / "url").write_text("nats://u@n.example:4333\n")
    env = {
        "CDC_MYSQL_URL": "mysql://cdc@db/shop",
        "CDC_MYSQL_PASSWORD_FILE": "password",
        "CDC_NATS_URL_FILE": "url",
        "CDC_REDIS_PASSWORD": "direct",
    }
    settings = load({}, env)

    assert settings.mysql.secret == SecretSource(setting="CDC_MYSQL_PASSWORD_FILE", file="password")
    assert str(settings.mysql) == "mysql://cdc:***@db:3306/shop"
    assert settings.nats.address == "n.example:4333"
    assert settings.redis.password == "direct"
    assert CANARY not in repr(settings)


@pytest.mark.parametrize(
    ("text", "variable", "hidden"),
    [
        (f"mysql://ada:{CANARY}@h", "CDC_MYSQL_URL", "mysql://ada:***@h:3306"),
        (f"nats://{CANARY}@h", "CDC_NATS_URL", "nats://h:4222"),
    ],
)
def test_a_login_in_the_file_of_a_url_is_read_again(
    elsewhere: Path, text: str, variable: str, hidden: str
) -> None:
    """A password or a token of NATS stays in its file; a flag in its place is as it is."""
    (elsewhere / "url").write_text(f"{text}\n")
    env = {f"{variable}_FILE": "url"}
    name = variable.split("_")[1].lower()
    url = getattr(load({}, env), name)

    assert url.secret == SecretSource(setting=f"{variable}_FILE", file="url", holds_url=True)
    assert str(url) == hidden
    assert CANARY not in url.reveal()
    assert getattr(load({name: text}, env), name).secret is None


def test_a_user_in_the_file_of_a_url_and_a_password_apart(elsewhere: Path) -> None:
    """The user of a NATS URL is no token where a password comes apart."""
    (elsewhere / "url").write_text("nats://ada@h\n")
    (elsewhere / "password").write_text(CANARY)
    url = load({}, {"CDC_NATS_URL_FILE": "url", "CDC_NATS_PASSWORD_FILE": "password"}).nats

    assert (url.user, url.password) == ("ada", "")
    assert url.secret == SecretSource(setting="CDC_NATS_PASSWORD_FILE", file="password")


def test_a_pipe_is_read_once(elsewhere: Path) -> None:
    """As a shell gives it: ``CDC_REDIS_PASSWORD_FILE=<(pass show redis)``."""
    reading, writing = os.pipe()
    os.write(writing, CANARY.encode())
    os.close(writing)
    url = load({}, {"CDC_REDIS_PASSWORD_FILE": f"/dev/fd/{reading}"}).redis
    os.close(reading)

    assert (url.password, url.secret) == (CANARY, None)


def test_a_command_prints_the_password(elsewhere: Path) -> None:
    """A text is taken apart as a shell would, without one; a list is taken as it is."""
    toml(elsewhere, 'redis_password_command = ["print token", "$HOME"]')
    settings = load({"mysql": "mysql://ada@h"}, {"CDC_MYSQL_PASSWORD_COMMAND": "token 'of ada' *"})

    assert settings.mysql_password_command == Program(("token", "of ada", "*"))
    assert settings.mysql.secret == SecretSource(
        setting="mysql_password_command", command=("token", "of ada", "*")
    )
    assert str(settings.mysql) == "mysql://ada:***@h:3306"
    assert settings.redis.secret is not None
    assert settings.redis.secret.command == ("print token", "$HOME")
    assert str(settings.redis.secret) == "the program print token (redis_password_command)"


@pytest.mark.parametrize(
    "given",
    [
        {"CDC_NATS_URL": "nats://a:b@h"},
        {"CDC_NATS_PASSWORD": "b"},
        {"CDC_NATS_URL": "nats://h?creds=/x"},
    ],
)
def test_a_command_beside_another_password_is_refused(given: dict[str, str]) -> None:
    """It is not known which one is meant."""
    with pytest.raises(SettingsError, match=r"both give a password; keep one"):
        load({}, given | {"CDC_NATS_PASSWORD_COMMAND": "token"})


def test_a_program_of_another_user_is_not_run(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is found in a folder of a stranger runs nothing; one that is named may be."""
    path = toml(elsewhere, 'nats_password_command = "token"')
    assert load({}, {}).nats_password_command == ("token",)
    path.chmod(0o646)
    with pytest.raises(SettingsError, match="others may write to the file: chmod o-w"):
        load({}, {"CDC_CONFIG": str(path)})
    path.chmod(0o644)
    if os.geteuid() == 0:
        os.chown(path, 1, 1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(SettingsError, match=f"belongs to another user.*--config {path}"):
        load({}, {})
    assert load({}, {}, path).nats_password_command == ("token",)
    assert load({}, {"CDC_NATS_PASSWORD_COMMAND": "x"}, path).nats_password_command == ("x",)
    toml(elsewhere, 'stream = "HERE"')
    assert load({}, {}).stream == "HERE"


@pytest.mark.parametrize("text", ["token 'of", '"token'])
def test_a_quote_that_is_not_closed_is_refused(text: str) -> None:
    """Without quoting it."""
    with pytest.raises(SettingsError, match="has a quote that is not closed"):
        load({}, {"CDC_NATS_PASSWORD_COMMAND": text})


# -- tables ----------------------------------------------------------------------------


def test_tables_come_from_flags_or_variable_or_file(elsewhere: Path) -> None:
    """Each place lists tables whole; what a section says about a table stays."""
    toml(elsewhere, '[tables."shop.users"]\nkey = "u:{id}"\nas = "hash"\n[tables."shop.b"]\n')
    users = TableSettings(name="shop.users", key="u:{id}", model="hash")

    assert load({}, {}).tables == (users, TableSettings(name="shop.b"))
    assert load({}, {"CDC_TABLES": "shop.users, x"}).tables == (users, TableSettings(name="x"))
    assert load({"tables": ("shop.users",)}, {"CDC_TABLES": "x"}).tables == (users,)


def test_an_unqualified_name_finds_the_section_of_the_default_database(elsewhere: Path) -> None:
    """``users`` is ``shop.users`` when the URL of MySQL ends in /shop."""
    toml(elsewhere, '[tables."shop.users"]\nkey = "u:{id}"\n')
    settings = load({"tables": ("users",), "mysql": "mysql://h/shop"}, {})

    assert settings.tables == (TableSettings(name="users", key="u:{id}"),)


def test_key_and_value_are_for_every_table() -> None:
    """The plainest form: one key template and one column."""
    settings = load({"tables": ("t",), "key": "{your_key}", "value": "your_column"}, {})

    assert settings.tables == (TableSettings(name="t", key="{your_key}", value="your_column"),)


def test_tables_are_excluded_by_flags_or_variable_or_file(elsewhere: Path) -> None:
    """Names and patterns; each place lists them whole."""
    toml(elsewhere, 'exclude_tables = ["shop.log_*", "users"]\n[tables."shop.*"]\n')
    names = ("shop.log_*", "users")

    assert load({}, {}).exclude_tables == names
    assert load({}, {"CDC_EXCLUDE_TABLES": "shop.a, b"}).exclude_tables == ("shop.a", "b")
    flags = {"exclude_tables": ("shop.x*",)}
    assert load(flags, {"CDC_EXCLUDE_TABLES": "a"}).exclude_tables == ("shop.x*",)


def test_a_pattern_is_kept_and_a_bracketed_sign_is_the_sign(elsewhere: Path) -> None:
    """In flags, variable and file alike."""
    toml(elsewhere, '[tables."shop.*"]\nas = "hash"\n[tables."shop.a[*]b"]\n')
    pattern = TableSettings(name="shop.*", is_pattern=True, model="hash")
    plain = TableSettings(name="shop.a*b")

    assert load({}, {}).tables == load({}, {}).sections == (pattern, plain)
    assert load({"tables": ("shop.a[*]b",)}, {}).tables == (plain,)
    assert load({}, {"CDC_TABLES": "shop.*,shop.a[*]b"}).tables == (pattern, plain)
    assert load({}, {"CDC_TABLES": "shop.*"}).sections == (pattern, plain)


def test_sections_are_kept_apart_only_where_a_pattern_needs_them(elsewhere: Path) -> None:
    """What no table can get is not checked, as before."""
    toml(elsewhere, '[tables.a]\nkey = ""\n[tables.b]\n')

    assert load({"tables": ("b",)}, {}).sections == ()
    with pytest.raises(SettingsError, match="must not be empty"):
        load({"tables": ("shop.*",)}, {})


# -- what is refused -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "env", "words"),
    [
        ({"tables": ("a",), "value": "v", "as": "hash"}, {}, "keep one"),
        ({"tables": ("a", "b"), "key": "{id}"}, {}, "must contain {table}"),
        ({"tables": ("a", "a")}, {}, "a table twice: 'a' and 'a'; keep one"),
        (
            {"tables": ("a", "s.a"), "mysql": "mysql://h/s"},
            {},
            "a table twice: 'a' and 's.a'; keep one",
        ),
        ({"tables": ("s.*",), "key": "{id}"}, {}, "must contain {table}"),
        ({"tables": ("a*",)}, {}, "'a*' names no database"),
        ({"tables": ("s.[z-a]",)}, {}, "a range that is empty"),
        ({"tables": ("a",), "exclude_tables": ("b*",)}, {}, "'b*' names no database"),
        ({"tables": ("s.*", "s.*")}, {}, "a table twice: 's.*' and 's.*'; keep one"),
        ({"as": "hush"}, {}, "did you mean 'hash'"),
        ({"flush_max_bytes": "1"}, {}, "at least 1024 bytes"),
        ({"heartbeat_s": "nan"}, {}, "at least"),
        ({"server_id": "4294967296"}, {}, "at most"),
        ({"stream": "a.b"}, {}, "of the form"),
        ({"log_level": "wrong"}, {}, "warning"),
        ({"redis": "redis://h/x"}, {}, "number of a Redis database"),
        ({"nats": "nats://h/x"}, {}, "end after host:port"),
    ],
)
def test_a_wrong_flag_is_an_error_of_usage(
    flags: dict[str, Any], env: dict[str, str], words: str
) -> None:
    """What a flag cannot be, or two cannot be together, ends with 2."""
    with pytest.raises(UsageError, match=re.escape(words)):
        load(flags, env)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"CDC_STREM": "x"}, "did you mean 'CDC_STREAM'"),
        ({"CDC_ADOPT": "yes"}, "must be true or false"),
        ({"CDC_SERVER_ID": "x"}, "must be a whole number"),
        ({"CDC_CONFIG": "nowhere.toml"}, "does not exist"),
        ({"CDC_MYSQL_URL_FILE": "nowhere"}, "cannot be read"),
        ({"CDC_MYSQL_URL": "mysql://h", "CDC_MYSQL_URL_FILE": "x"}, "keep one"),
        ({"CDC_MYSQL_URL": f"mysql://u:{CANARY}@h", "CDC_MYSQL_PASSWORD": CANARY}, "keep one"),
        ({"CDC_NATS_URL": f"nat://u:{CANARY}@h"}, "expected nats"),
        ({"CDC_PIPELINE": f"redis://u:{CANARY}@h"}, "of the form"),
    ],
)
def test_a_wrong_variable_is_an_error_of_settings(env: dict[str, str], words: str) -> None:
    """It ends with 78, and never quotes a password."""
    with pytest.raises(SettingsError, match=re.escape(words)) as refused:
        load({}, env)

    assert CANARY not in refused.value.text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("strem = 1", "did you mean 'stream'"),
        ('server_id = "1"', "must be a whole number"),
        ("server_id = true", "must be a whole number"),
        ("stream = 1", "must be a text"),
        ("snapshot = 1", "must be true or false"),
        ("mysql = 1", "must be a URL in quotes"),
        ("stream =", "not valid TOML"),
        ("[tables.shop.users]", 'needs quotes around the name: [tables."shop.users"]'),
        ('[tables."a"]\nkei = "x"', "did you mean 'key'"),
        ('[tables."a"]\nkey = 1', "must be a text in quotes"),
        ("tables = 1", "must be sections"),
    ],
)
def test_a_wrong_line_of_the_file_is_an_error_of_settings(
    text: str, words: str, elsewhere: Path
) -> None:
    """It names the file, the setting and what it should be."""
    toml(elsewhere, text)
    with pytest.raises(SettingsError, match=re.escape(words)):
        load({}, {})


def test_all_problems_are_told_together(elsewhere: Path) -> None:
    """Nobody has to run the command four times to read four errors."""
    toml(elsewhere, 'strem = 1\nserver_id = "x"')
    with pytest.raises(SettingsError) as refused:
        load({"flush_max_bytes": "x"}, {"CDC_STREM": "x"})

    for words in ("'strem'", "server_id", "--flush-max-bytes", "CDC_STREM"):
        assert words in refused.value.text()


@pytest.mark.parametrize("service", ["CDC", "CDC_READER", "CDC_REDIS_SINK_2"])
def test_variables_that_kubernetes_makes_are_left_alone(service: str) -> None:
    """A service named cdc or cdc-… gives every container of its namespace these variables."""
    made = {
        f"{service}_{rest}": "tcp://10.0.0.1:80"
        for rest in (
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP_METRICS",
            "PORT",
            "PORT_9187_TCP",
            "PORT_9187_TCP_PROTO",
            "PORT_9187_TCP_PORT",
            "PORT_9187_TCP_ADDR",
            "PORT_53_UDP",
        )
    }
    assert load({}, made) == Settings()


@pytest.mark.parametrize("variable", ["CDC_SERVICE", "CDC_PORTS", "CDC_READER_PORT_X", "CDC_HOST"])
def test_a_variable_that_only_looks_like_one_of_kubernetes_is_refused(variable: str) -> None:
    """What is no setting and no variable of a service is a mistake, and is named."""
    with pytest.raises(SettingsError, match=variable):
        load({}, {variable: "1"})


def test_a_settings_file_in_a_folder_that_may_not_be_entered_is_named(tmp_path: Path) -> None:
    """``--config`` there is a mistake with its reason; a name that is too long as well."""
    path = tmp_path / ("x" * 300)
    with pytest.raises(SettingsError, match=r"names a file that cannot be read: .*too long"):
        load({}, {"CDC_CONFIG": str(path)})


# -- what is written about them --------------------------------------------------------


def test_the_shipped_file_has_every_setting_with_its_default() -> None:
    """``config/cdc.toml``, with every line taken out of its comment, is the defaults."""
    text = (ROOT / "config/cdc.toml").read_text()
    lines = re.findall(r"^#([a-z][a-z_]* = .*)$", text.partition('#[tables."')[0], re.MULTILINE)
    found = tomllib.loads("\n".join(lines))

    assert found.pop("exclude_tables") == []
    assert list(found) == list(SPECS)
    for name, value in found.items():
        assert SPECS[name].checked(value) == SPECS[name].default
        assert SPECS[name].help.split()[0] in text


def test_the_shipped_file_changes_nothing() -> None:
    """As it is shipped, all of it is comment."""
    assert load({}, {}, ROOT / "config/cdc.toml") == Settings()


def test_the_documentation_has_every_setting() -> None:
    """docs/configuration.md: name, default, unit, limits, flag, variable, help as in the code."""
    text = (ROOT / "docs/configuration.md").read_text()
    for name, spec in SPECS.items():
        start = (
            f"| `{name}` | `{spec.default_text}` | {spec.unit} | {spec.limits_text} "
            f"| `{spec.flag}` | `{spec.env}` | {spec.help}"
        )
        assert start in text
    for name, help_text in TABLE_HELP.items():
        flag, variable = (
            (f"`--{name}`", f"`CDC_{name.upper()}`") if name in TABLE_SHARED else ("", "")
        )
        assert f"| `{name}` | {flag} | {variable} | {help_text} |" in text


def test_the_documentation_has_no_setting_too_many() -> None:
    """A row for each setting, and none for one that is gone."""
    text = (ROOT / "docs/configuration.md").read_text()
    section = text.partition("## Settings")[2].partition("## Tables")[0]

    assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == list(SPECS)


def test_the_documentation_has_every_exit_code() -> None:
    """docs/exit-codes.md is the table in cdc/errors.py."""
    text = (ROOT / "docs/exit-codes.md").read_text()
    found = re.findall(r"^\| (\d+) \| `(\w+)` \| (.*) \|$", text, re.MULTILINE)

    assert found == [
        (str(code), kind.__name__, (kind.__doc__ or "").strip())
        for code, kind in EXIT_CODES.items()
    ]


def test_defaults_are_within_their_own_limits() -> None:
    """Each default passes the check that a user's value has to pass."""
    for spec in SPECS.values():
        value = spec.default
        assert spec.checked(str(value) if isinstance(value, Url) else value) == value
