"""Addresses: what is read, what is refused, and that no password is ever shown."""

from __future__ import annotations

import pickle
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.url import SecretSource, Url, hide, parse_url, redact

MYSQL, NATS, REDIS = ("mysql",), ("nats", "tls", "embedded"), ("redis", "rediss")
CANARY = "Kanarienvogel"


def test_every_part_is_read_and_percent_decoded() -> None:
    """User, password and database may hold any sign, percent-encoded."""
    url = parse_url("mysql://a%40b:p%3A%2F%25@[::1]:3307/my%2Fdb?ssl-mode=VERIFY_CA", MYSQL)

    assert (url.user, url.password, url.database) == ("a@b", "p:/%", "my/db")
    assert (url.host, url.port, url.tls_mode) == ("::1", 3307, "verify-ca")
    assert url.address == "[::1]:3307"


@given(user=st.text(min_size=1), password=st.text(), database=st.text())
def test_a_revealed_url_reads_back_as_itself(user: str, password: str, database: str) -> None:
    """`reveal` and `parse_url` are inverse."""
    url = Url(
        scheme="mysql",
        hosts=(("db.example", 3306),),
        user=user,
        password=password,
        database=database,
    )

    assert url == parse_url(url.reveal().replace(" ", "%20"), MYSQL)


@pytest.mark.parametrize(
    "text",
    [
        f"mysql://ada:{CANARY}@h/db",
        f"mysql://:{CANARY}@h",
    ],
)
def test_neither_str_nor_repr_shows_the_password(text: str) -> None:
    """A URL in a log or an error hides its password."""
    url = parse_url(text, MYSQL)

    assert CANARY not in f"{url} {url!r}"
    assert url.password == CANARY == pickle.loads(pickle.dumps(url)).password


def test_a_token_is_hidden_like_a_password() -> None:
    """``nats://TOKEN@host`` has its secret in the place of the user."""
    url = parse_url(f"nats://{CANARY}@h", NATS)

    assert str(url) == "nats://***@h:4222"
    assert CANARY in url.secrets


def test_a_nats_cluster_has_several_hosts() -> None:
    """Hosts are separated by commas; the default port is added."""
    url = parse_url("nats://u:p@a,b:4333", NATS)

    assert url.hosts == (("a", 4222), ("b", 4333))


def test_embedded_names_its_folder() -> None:
    """``embedded:DIR`` is an address of NATS alone."""
    assert parse_url("embedded:var/nats", NATS).database == "var/nats"
    with pytest.raises(ValueError, match="folder"):
        parse_url("embedded:", NATS)


@pytest.mark.parametrize(
    "text",
    [
        f"mysql://u:{CANARY}",
        f"mysql://u:{CANARY}/x@h/db",
        f"mysql://u:{CANARY}#x@h/db",
        f"mysql:/u:{CANARY}@h",
        f"mysql://u:{CANARY}@h:99999",
        f"mysql://u:{CANARY}@h:port",
        f"mysql://u:{CANARY}@",
        f"mysql://u:{CANARY}@h?tls=1",
        f"mysql://u:{CANARY}@h?ssl-mode=",
        f"mysql://u:{CANARY}@h?ssl-mode=preferred",
        f"mysql://u:{CANARY}@h?ssl-key=k",
        f"postgres://u:{CANARY}@h",
        f"redis://u:{CANARY}@h",
    ],
)
def test_what_cannot_be_read_is_refused_without_quoting_it(text: str) -> None:
    """The words of a refusal never hold the password."""
    with pytest.raises(ValueError, match=" ") as refused:
        parse_url(text, MYSQL)

    assert CANARY not in str(refused.value)


def test_an_unknown_option_names_the_nearest() -> None:
    """A typo in an option is told with the option that was meant."""
    with pytest.raises(ValueError, match="did you mean ssl-mode"):
        parse_url("mysql://h?ssl_mode=required", MYSQL)


@pytest.mark.parametrize(
    ("text", "schemes", "mode"),
    [
        ("mysql://localhost", MYSQL, "disabled"),
        ("mysql://127.0.0.2", MYSQL, "disabled"),
        ("mysql://db.example", MYSQL, "verify-identity"),
        ("mysql://db.example?ssl-mode=disabled", MYSQL, "disabled"),
        ("mysql://localhost?ssl-ca=/ca.pem", MYSQL, "verify-identity"),
        ("nats://n.example", NATS, "disabled"),
        ("tls://n.example", NATS, "verify-identity"),
        ("rediss://r.example", REDIS, "verify-identity"),
    ],
)
def test_tls_is_verified_unless_said_otherwise(
    text: str, schemes: tuple[str, ...], mode: str
) -> None:
    """MySQL elsewhere, tls and rediss are verified; nothing falls back to plain text."""
    assert parse_url(text, schemes).tls_mode == mode


def test_the_context_does_what_the_mode_says() -> None:
    """verify-identity checks the name, verify-ca the authority, required nothing."""

    def context(mode: str) -> ssl.SSLContext:
        made = parse_url(f"mysql://h?ssl-mode={mode}", MYSQL).ssl_context()
        assert made is not None
        return made

    assert context("verify-identity").check_hostname
    assert (context("verify-ca").check_hostname, context("verify-ca").verify_mode) == (
        False,
        ssl.CERT_REQUIRED,
    )
    assert context("required").verify_mode == ssl.CERT_NONE
    assert parse_url("mysql://h?ssl-mode=disabled", MYSQL).ssl_context() is None


def test_a_text_is_freed_of_every_login_in_it() -> None:
    """Known secrets and whatever stands like a password in a URL are hidden."""
    text = f"a redis://u:{CANARY}@h and nats://{CANARY}@h and {CANARY}"

    assert CANARY not in hide(text, (CANARY,))
    assert redact(f"x mysql://u:{CANARY}@h y") == "x mysql://u:***@h y"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("redis+sentinel://h:26379/mymaster/0", "Sentinel"),
        ("sentinel://h:26379", "Sentinel"),
        ("unix:///run/redis.sock", "unix socket"),
        ("redis:///run/redis.sock", "unix socket"),
        ("mysql://cdc@%2Frun%2Fmysqld.sock/shop", "unix socket"),
        ("mysql://cdc@localhost/shop?unix_socket=/run/mysqld.sock", "unix socket"),
        ("redis+cluster://h", "cluster"),
        ("wss://h", "websocket"),
    ],
)
def test_what_is_not_supported_is_said_to_be_so(text: str, word: str) -> None:
    """It is no typing error, and what to write instead is said."""
    with pytest.raises(ValueError, match=word) as refused:
        parse_url(text, ("mysql", "nats", "tls", "redis", "rediss"))

    assert "does not support" in str(refused.value)


def test_a_password_that_is_elsewhere_is_no_part_of_a_url() -> None:
    """It is shown as one, and the fix of a refused login names where it is read."""
    source = SecretSource(setting="CDC_MYSQL_PASSWORD_FILE", file="/run/secrets/mysql")
    url = parse_url(f"mysql://u:{CANARY}@h", MYSQL).with_secret(source)
    source.note(CANARY)

    assert str(url) == "mysql://u:***@h:3306"
    assert CANARY not in url.reveal()
    assert CANARY in url.secrets
    assert CANARY not in repr(url) + repr(source)
    assert "the file /run/secrets/mysql (CDC_MYSQL_PASSWORD_FILE)" in url.login_fix
    assert url.with_password("x").secret is None


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("mysql://h", "check user and password in the mysql setting (CDC_MYSQL_URL,"),
        ("tls://h", "check user and password (or token) in the nats setting (CDC_NATS_URL,"),
        ("rediss://h", "check user and password in the redis setting (CDC_REDIS_URL,"),
        ("nats://h?creds=/x", "check the file of ?creds= in the NATS URL"),
    ],
)
def test_the_fix_of_a_refused_login_names_its_setting(text: str, fix: str) -> None:
    """The variable that a person has to look at."""
    assert parse_url(text, (*MYSQL, *NATS, *REDIS)).login_fix.startswith(fix)


def test_a_password_of_nats_without_a_user_is_its_token() -> None:
    """With a user it is that one's password."""
    alone, with_user = (parse_url(f"nats://{user}h", NATS).with_password(CANARY)
                        for user in ("", "u@"))  # fmt: skip

    assert (alone.user, alone.password) == (CANARY, "")
    assert (with_user.user, with_user.password) == ("u", CANARY)
