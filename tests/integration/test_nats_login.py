"""Logins of NATS by credentials file, on a nats-server with an operator's accounts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cdc.demo.servers import Nats
from cdc.errors import CdcError, PermissionDenied, SettingsError
from cdc.jetstream.stream import api, close, connect
from cdc.url import SecretSource, Url, parse_url
from tests.conftest import NewNats
from tests.support.certificates import Authority, nats_options
from tests.support.checking import QUIET
from tests.support.nats_accounts import Operator

SEED = "-----BEGIN USER NKEY SEED-----"


async def ask(url: Url | str) -> None:
    """Log in and ask something that needs the login."""
    nc = await connect(url, name="test", inbox_prefix="_INBOX_test", log=QUIET)
    try:
        await api(nc, "INFO")
    finally:
        await close(nc)


def refused(url: Url | str) -> CdcError:
    """Return why it does not come to that."""
    with pytest.raises(CdcError) as caught:
        asyncio.run(ask(url))
    return caught.value


def test_a_credentials_file_logs_in(new_nats: NewNats, tmp_path: Path) -> None:
    """In plain text and over TLS; one of a stranger, or one that has expired, does not."""
    operator, authority = Operator(), Authority(tmp_path / "certificates")
    creds = tmp_path / "cdc creds"
    operator.credentials(creds)
    place = f"127.0.0.1:{new_nats(operator.options).port}"
    asyncio.run(ask(f"nats://{place}?creds={creds}".replace(" ", "%20")))
    tls = nats_options(authority.issue("server"), authority)
    encrypted = new_nats(f"{operator.options}\n{tls}")
    asyncio.run(
        ask(
            f"tls://127.0.0.1:{encrypted.port}?ssl-ca={authority.file}&creds={creds}".replace(
                " ", "%20"
            )
        )
    )

    Operator().credentials(tmp_path / "stranger")
    operator.credentials(tmp_path / "expired", expires_s=-5)
    for name in ("stranger", "expired"):
        error = refused(f"nats://{place}?creds={tmp_path / name}")
        assert type(error) is PermissionDenied
        assert "creds" in error.fix


def test_a_token_is_read_at_each_connection(new_nats: NewNats, tmp_path: Path) -> None:
    """From a file or a program; with the user's name it would be that one's password."""
    path = tmp_path / "token"
    path.write_text("first")
    nats = new_nats('authorization { token: "first" }')
    url = parse_url(nats.url, ("nats",))
    of_file = url.with_secret(SecretSource(setting="CDC_NATS_PASSWORD_FILE", file=str(path)))
    of_program = url.with_secret(
        SecretSource(setting="nats_password_command", command=("cat", str(path)))
    )
    asyncio.run(ask(of_file))
    asyncio.run(ask(of_program))
    path.write_text("second")
    for one, where in ((of_file, f"the file {path}"), (of_program, "the program cat")):
        error = refused(one)
        assert type(error) is PermissionDenied
        assert error.is_login
        assert where in error.fix
    nats.stop()
    nats.options = 'authorization { token: "second" }'
    nats.start()
    asyncio.run(ask(of_file))
    asyncio.run(ask(of_program))


async def _heard(url: str) -> bytes:
    """Return what a server that offers no TLS, and asks for a signature, hears."""
    heard = bytearray()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = b'{"server_id":"X","version":"2.15.1","auth_required":true,"nonce":"bm9uY2U",'
        writer.write(b"INFO " + info + b'"headers":true,"max_payload":1048576}\r\n')
        heard.extend(await reader.read(-1))
        writer.close()
        ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(PermissionDenied, match="offers no TLS") as caught:
        await ask(url.format(port=port))
    assert "no password, token or signature was sent" in caught.value.safe
    await asyncio.wait_for(ended.wait(), 10)
    server.close()
    await server.wait_closed()
    return bytes(heard)


def test_without_tls_neither_jwt_nor_signature_goes_out(tmp_path: Path) -> None:
    """A server that listens in learns nothing, whatever the login is."""
    Operator().credentials(tmp_path / "creds")
    for login, options in (
        ("", f"?creds={tmp_path / 'creds'}"),
        ("ada:geheim@", ""),
        ("token@", ""),
        ("ada:geheim@", f"?creds={tmp_path / 'creds'}"),
    ):
        assert asyncio.run(_heard(f"tls://{login}127.0.0.1:{{port}}{options}")) == b""


def test_a_file_that_is_none_is_named(nats: Nats, tmp_path: Path) -> None:
    """Missing, a folder, empty, rubbish, a half of it, damaged, an account's: 78, never sent."""
    good = Operator().credentials(tmp_path / "good")
    at = good.index("SU", good.index(SEED))
    damaged = good[: at + 20] + ("A" if good[at + 20] != "A" else "B") + good[at + 21 :]
    contents = {
        "empty": b"",
        "blank": b" \n",
        "binary": bytes(range(256)) * 9,
        "rubbish": b"hello\n" * 100,
        "jwt alone": good.partition(SEED)[0].encode(),
        "seed alone": (SEED + good.partition(SEED)[2]).encode(),
        "cut": good[: at + 10].encode(),
        "damaged": damaged.encode(),
        "account": good.replace("\nSU", "\nSA").encode(),
        "no jwt": good.replace(".", "", 1).encode(),
        "large": b"x" * (2 << 20),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name in (*contents, "missing", "."):
        path = str(tmp_path / name)
        error = refused(f"nats://127.0.0.1:{nats.port}?creds={path.replace(' ', '%20')}")
        assert type(error) is SettingsError, (name, error)
        assert "credentials file" in error.seen
        assert "good" not in error.text()
        assert good[at : at + 40] not in error.text()
