"""How a connection to Redis is made of an address."""

from __future__ import annotations

from typing import Any

import pytest

from cdc.errors import SettingsError
from cdc.network.redis_options import has_tls, naming, redis_options
from cdc.url import parse_url

SCHEMES = ("redis", "rediss")
TLS = {"ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}


def options(url: str) -> dict[str, Any]:
    """Return the options of an address."""
    return redis_options(parse_url(url, SCHEMES))


def test_a_plain_address_has_no_login_and_no_tls() -> None:
    """Empty parts are None, so that no AUTH is sent."""
    found = options("redis://h:7000")

    assert ("h", 7000, 0, None, None) == tuple(
        found[name] for name in ("host", "port", "db", "username", "password")
    )
    assert set() == TLS & set(found)


def test_login_and_database_are_those_of_the_address() -> None:
    """Percent-decoded."""
    found = options("redis://ada:p%40ss@h/3")

    assert ("ada", "p@ss", 3) == (found["username"], found["password"], found["db"])


def test_no_command_is_sent_that_a_managed_server_refuses() -> None:
    """redis-py would end a connection that is refused CLIENT; protocol 2 needs no HELLO."""
    found = options("redis://h")

    assert (None, 2) == (found["driver_info"], found["protocol"])
    assert ("CLIENT", "SETNAME", "cdc") == naming("cdc")


def test_every_wait_ends() -> None:
    """Of connecting and of each reply."""
    found = options("redis://h")

    assert (5, 15.0) == (found["socket_connect_timeout"], found["socket_timeout"])


@pytest.mark.parametrize(
    ("mode", "is_encrypted", "verified", "checks_name"),
    [
        ("disabled", False, None, None),
        ("required", True, "none", False),
        ("verify-ca", True, "required", False),
        ("verify-identity", True, "required", True),
    ],
)
def test_a_certificate_is_verified_as_the_mode_says(
    mode: str, is_encrypted: bool, verified: str | None, checks_name: bool | None
) -> None:
    """As redis-py calls it."""
    url = parse_url(f"redis://h?ssl-mode={mode}", SCHEMES)
    found = redis_options(url)

    assert is_encrypted == has_tls(url)
    assert (verified, checks_name) == (found.get("ssl_cert_reqs"), found.get("ssl_check_hostname"))


def test_a_certificate_file_that_cannot_be_used_is_an_error_of_settings() -> None:
    """Before anything is connected to."""
    with pytest.raises(SettingsError):
        options("rediss://h?ssl-ca=/nonexistent/ca.pem")
