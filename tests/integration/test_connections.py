"""Connections that fail: each names its cause and what to do, alike for MySQL, NATS and Redis."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cdc.demo.ports import free_port
from cdc.demo.servers import (
    PASSWORD,
    MariaDB,
    MariaDB1011,
    MySQL,
    Nats,
    Redis,
    start_together,
)
from cdc.errors import CdcError, PermissionDenied, SettingsError, UnavailableError, UsageError
from cdc.jetstream.stream import close, connect
from cdc.mysql import connection as mysql_connection
from cdc.url import SecretSource, parse_url
from cdc_verify.redis_keys import RedisKeys
from redis_sink.store.writer import Writer
from tests.support.certificates import Authority, mysql_options, nats_options, redis_options
from tests.support.checking import QUIET
from tests.support.mariadb_plugins import plugin_dir

ROOT = f"root:{PASSWORD}@"
SERVERS = ("mysql", "nats", "redis")
SCHEMES = {"mysql": ("mysql",), "nats": ("nats", "tls"), "redis": ("redis", "rediss")}
SECURE = {"mysql": "mysql", "nats": "tls", "redis": "rediss"}
PLAIN = {"mysql": "mysql", "nats": "nats", "redis": "redis"}


def attempt(url: str) -> None:
    """Connect as cdc does, and leave."""
    kind = url.partition(":")[0]
    if kind == "mysql":
        mysql_connection.connect(parse_url(url, SCHEMES["mysql"])).close()
    elif kind in SCHEMES["nats"]:
        asyncio.run(_nats(url))
    else:
        asyncio.run(_redis(url))


async def _nats(url: str) -> None:
    await close(await connect(url, name="test", inbox_prefix="_INBOX_test", log=QUIET))


async def _redis(url: str) -> None:
    writer = Writer(parse_url(url, SCHEMES["redis"]), key="cdc:test:position", name="test")
    try:
        await writer.open()
        await writer.ask(("PING",))
    finally:
        writer.close()


def refusal(url: str, *, verify: bool = True) -> CdcError:
    """Return why it fails, also for `cdc verify`; never with the password that was given."""
    with pytest.raises(CdcError) as caught:
        attempt(url)
    assert "geheim" not in caught.value.text()
    if verify and url.startswith("redis"):
        with pytest.raises(CdcError) as too:
            RedisKeys(parse_url(url, SCHEMES["redis"]), name="test").run(("PING",))
        assert type(too.value) is type(caught.value)
    return caught.value


@dataclass(frozen=True)
class Places:
    """Ports of the three servers: plain, with TLS, and where a client certificate is wanted."""

    authority: Authority
    plain: dict[str, int]
    tls: dict[str, int]
    mutual: dict[str, int]
    expired: dict[str, int]
    foreign: dict[str, int]
    """The certificate is for another host."""

    def url(self, server: str, ports: dict[str, int], options: str = "", **files: Path) -> str:
        """Return an address that asks for TLS, verified by the authority."""
        given = "".join(f"&{name.replace('_', '-')}={path}" for name, path in files.items())
        login = ROOT if server == "mysql" else ""
        return (
            f"{SECURE[server]}://{login}127.0.0.1:{ports[server]}"
            f"?ssl-ca={self.authority.file}{options}{given}"
        )


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """Each server in each way."""
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    good = authority.issue("server")
    certificates = {
        "tls": good,
        "mutual": good,
        "expired": authority.issue("expired", ends=dt.timedelta(days=-1)),
        "foreign": authority.issue("foreign", hosts=("db.example",)),
    }
    ports: dict[str, dict[str, int]] = {way: {} for way in ("plain", *certificates)}
    with ExitStack() as stack:
        nats = {
            way: Nats(nats_options(files, authority, verify=way == "mutual"))
            for way, files in certificates.items()
        }
        redis_ports = {way: free_port() for way in certificates}
        redis = {
            way: Redis(redis_options(redis_ports[way], files, authority, verify=way == "mutual"))
            for way, files in certificates.items()
        }
        mysql = {
            way: MySQL(options=mysql_options(files, authority))
            for way, files in certificates.items()
            if way != "mutual"
        }
        plain_nats, plain_mysql = Nats(), MySQL(options=("--tls-version=",))
        everything = (*nats.values(), *redis.values(), *mysql.values(), plain_nats, plain_mysql)
        start_together(stack, *everything)
        for way in certificates:
            ports[way] |= {"nats": nats[way].port, "redis": redis_ports[way]}
            ports[way]["mysql"] = (mysql.get(way) or mysql["tls"]).port
        ports["plain"] = {
            "nats": plain_nats.port,
            "redis": redis["tls"].port,
            "mysql": plain_mysql.port,
        }
        with mysql["tls"].connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE USER mutual@'%' REQUIRE X509")
        yield Places(authority=authority, **ports)


@pytest.mark.parametrize("server", SERVERS)
def test_a_verified_connection(places: Places, server: str) -> None:
    """The same servers, asked rightly: what fails below fails for its own reason."""
    attempt(places.url(server, places.tls))
    attempt(f"{PLAIN[server]}://{ROOT if server == 'mysql' else ''}127.0.0.1:"
            f"{places.plain[server]}")  # fmt: skip
    cert, key = places.authority.issue("client")
    url = places.url(server, places.mutual, ssl_cert=cert, ssl_key=key)
    attempt(url.replace(ROOT, "mutual@"))


@pytest.mark.parametrize("server", SERVERS)
def test_certificates_of_the_server(places: Places, server: str, tmp_path: Path) -> None:
    """Expired, of another host, of an authority that is not known: 77, and what to do."""
    expired = refusal(places.url(server, places.expired))
    assert type(expired) is PermissionDenied
    assert "it has expired" in expired.seen
    foreign = refusal(places.url(server, places.foreign))
    assert type(foreign) is PermissionDenied
    assert "not for this host" in foreign.seen
    assert "verify-ca" in foreign.fix
    attempt(places.url(server, places.foreign, "&ssl-mode=verify-ca"))
    stranger = Authority(tmp_path / "other", "stranger").file
    unknown = refusal(
        places.url(server, places.tls).replace(str(places.authority.file), str(stranger))
    )
    assert type(unknown) is PermissionDenied
    assert "does not vouch" in unknown.seen
    assert "?ssl-ca" in unknown.fix


@pytest.mark.parametrize("server", SERVERS)
def test_certificates_of_the_client(places: Places, server: str, tmp_path: Path) -> None:
    """None, or one of a stranger: the server wants another, and that is what is said."""
    if server == "mysql":  # it looks at a certificate that its authority signed with the account
        error = refusal(places.url(server, places.mutual).replace(ROOT, "mutual@"))
        assert type(error) is PermissionDenied
        return
    without = refusal(places.url(server, places.mutual))
    assert type(without) is PermissionDenied
    assert "wants a client certificate" in without.seen
    assert "ssl-cert" in without.fix
    cert, key = Authority(tmp_path / "other", "stranger").issue("client")
    wrong = refusal(places.url(server, places.mutual, ssl_cert=cert, ssl_key=key))
    assert type(wrong) is PermissionDenied
    assert f"refuses the client certificate {cert}" in wrong.seen


@pytest.mark.parametrize("server", SERVERS)
def test_certificate_files(places: Places, server: str, tmp_path: Path) -> None:
    """Missing, a folder, none in PEM, or of another key: 78, with the file's name."""
    cert, key = places.authority.issue("client")
    other = places.authority.issue("other")[1]
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("hello")
    base = places.url(server, places.tls)
    missing = tmp_path / "missing.pem"
    for options, named in (
        (f"&ssl-cert={missing}", missing),
        (f"&ssl-cert={cert}&ssl-key={missing}", missing),
        (f"&ssl-cert={tmp_path}", tmp_path),
        (f"&ssl-cert={rubbish}", rubbish),
        (f"&ssl-cert={cert}&ssl-key={other}", other),
        (f"&ssl-cert={cert}&ssl-key={rubbish}", rubbish),
    ):
        error = refusal(base + options)
        assert type(error) is SettingsError, options
        assert str(named) in error.seen
    for file in (missing, rubbish):
        error = refusal(base.replace(str(places.authority.file), str(file)))
        assert type(error) is SettingsError
        assert str(file) in error.seen
    attempt(f"{base}&ssl-cert={cert}&ssl-key={key}")


@pytest.mark.parametrize("server", SERVERS)
def test_tls_to_a_port_without_it(places: Places, server: str) -> None:
    """It is said that the server speaks none; nothing is sent to it."""
    url = places.url(server, places.plain).replace(ROOT, "root:geheim@")
    error = refusal(url, verify=False)  # which would wait for 15 s
    assert type(error) is PermissionDenied
    assert "no TLS" in error.seen
    assert error.safe.startswith("no password")


def test_plain_text_to_a_port_with_tls(places: Places) -> None:
    """Redis: rediss:// is what is meant.  MySQL and NATS agree on TLS after their greeting."""
    for login in ("ada:geheim@", ""):
        error = refusal(f"redis://{login}127.0.0.1:{places.tls['redis']}/0")
        assert type(error) is PermissionDenied
        assert "uses TLS" in error.seen
        assert "rediss://" in error.fix


@pytest.mark.parametrize("server", SERVERS)
def test_hosts_and_ports(server: str) -> None:
    """A name that cannot be resolved, and a port where nothing listens; waiting may help both."""
    unresolved = refusal(f"{PLAIN[server]}://nowhere.invalid:4711")
    assert type(unresolved) is UnavailableError
    assert "cannot be resolved" in unresolved.seen
    closed = refusal(f"{PLAIN[server]}://127.0.0.1:{free_port()}")
    assert type(closed) is UnavailableError
    assert "refuses the connection" in closed.seen


def test_a_database_that_redis_does_not_have(redis_server: Redis) -> None:
    """Its number is the setting's fault: 2, as a database that MySQL does not have."""
    error = refusal(f"redis://127.0.0.1:{redis_server.port}/99")
    assert type(error) is UsageError
    assert "no database 99" in error.seen


def test_another_server_at_that_port(redis_server: Redis, nats: Nats, mysql: MySQL) -> None:
    """NATS greets, and so does MySQL: who expected the other says so."""
    assert "is not MySQL" in refusal(f"mysql://root@127.0.0.1:{nats.port}").seen
    for url in (f"nats://127.0.0.1:{redis_server.port}", f"redis://127.0.0.1:{mysql.port}/0"):
        assert type(refusal(url)) is UnavailableError


# -- login plugins of MySQL and MariaDB ------------------------------------------------


@contextmanager
def asking_for(plugin: bytes, data: bytes = b"") -> Iterator[tuple[int, bytearray]]:
    """Stand in the way to a MySQL, and ask for a login by this plugin; yield what is heard."""
    heard = bytearray()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            greeting = (
                b"\x0a8.0.99\0" + b"\1\0\0\0" + b"12345678\0" + b"\xff\xf7\xff\2\0\xff\xc1\x15"
            )
            greeting += bytes(10) + b"123456789012\0" + b"mysql_native_password\0"
            connection.sendall(len(greeting).to_bytes(3, "little") + b"\0" + greeting)
            connection.recv(4096)  # the login, which answers to the greeting
            switch = b"\xfe" + plugin + b"\0" + data
            connection.sendall(len(switch).to_bytes(3, "little") + b"\2" + switch)
            heard.extend(connection.recv(4096))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield int(listener.getsockname()[1]), heard
    finally:
        thread.join(15)
        listener.close()
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("plugin", "data"),
    [
        (b"mysql_clear_password", b""),
        (b"dialog", b"\4Password: "),
        (b"mysql_old_password", b"12345678\0"),
    ],
)
def test_a_password_does_not_go_out_in_clear_text(plugin: bytes, data: bytes) -> None:
    """Whoever stands in the way may ask for it; without TLS it is given only where asked for."""
    with asking_for(plugin, data) as (port, heard):
        error = refusal(f"mysql://ada:geheim@127.0.0.1:{port}")
    assert type(error) is PermissionDenied
    assert "clear text" in error.seen
    assert heard == b""


def test_clear_text_where_it_is_asked_for() -> None:
    """?enable-cleartext-plugin=1, as of the mysql client."""
    with asking_for(b"mysql_clear_password") as (port, heard):
        url = f"mysql://ada:geheim@127.0.0.1:{port}?enable-cleartext-plugin=1"
        link = parse_url(url, ("mysql",))
        with pytest.raises(UnavailableError):  # it takes the password, and goes
            mysql_connection.connect(link)
    assert heard.endswith(b"geheim\0")


@pytest.mark.parametrize(
    "plugin", ["parsec", "auth_gssapi_client", "authentication_webauthn_client"]
)
def test_a_plugin_that_is_not_known_is_named(plugin: str) -> None:
    """And what to do instead; it is no server that is away."""
    with asking_for(plugin.encode(), b"12345678") as (port, heard):
        error = refusal(f"mysql://ada:geheim@127.0.0.1:{port}")
    assert type(error) is PermissionDenied
    assert plugin in error.seen
    assert "IDENTIFIED" in error.fix
    assert heard == b""


@pytest.mark.parametrize("plugin", ["caching_sha2_password", "sha256_password"])
@pytest.mark.parametrize("options", ["", "?ssl-mode=required"], ids=["plain", "TLS"])
def test_logins_of_mysql(mysql: MySQL, plugin: str, options: str) -> None:
    """Both of today's plugins, in plain text by RSA and over TLS; a wrong password is refused."""
    user = f"u_{plugin[:4]}_{len(options)}"
    with mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE USER {user}@'%' IDENTIFIED WITH {plugin} BY 'p@ssw0rt'")
    place = f"127.0.0.1:{mysql.port}{options}"
    attempt(f"mysql://{user}:p%40ssw0rt@{place}")
    error = refusal(f"mysql://{user}:geheim@{place}")
    assert type(error) is PermissionDenied
    assert "1045" in error.seen


@pytest.mark.parametrize("name", ["mysql80", "mariadb"])
def test_native_passwords(request: pytest.FixtureRequest, name: str) -> None:
    """Of MySQL 8.0 and MariaDB."""
    server: MySQL | MariaDB = request.getfixturevalue(name)
    with server.connect() as connection, connection.cursor() as cursor:
        with_native = "WITH mysql_native_password BY" if name == "mysql80" else "BY"
        cursor.execute(f"CREATE USER u_native@'%' IDENTIFIED {with_native} 'p@ssw0rt'")
    attempt(f"mysql://u_native:p%40ssw0rt@127.0.0.1:{server.port}")
    assert type(refusal(f"mysql://u_native:geheim@127.0.0.1:{server.port}")) is PermissionDenied


def test_logins_of_mariadb() -> None:
    """ed25519 with a right and a wrong password; unix_socket says that no password helps."""
    with MariaDB1011(options=(f"--plugin-dir={plugin_dir()}",)) as server:
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("INSTALL SONAME 'auth_ed25519'")
            cursor.execute("CREATE USER ada@'%' IDENTIFIED VIA ed25519 USING PASSWORD('p@ssw0rt')")
            cursor.execute("CREATE USER local@'%' IDENTIFIED VIA unix_socket")
        place = f"127.0.0.1:{server.port}"
        attempt(f"mysql://ada:p%40ssw0rt@{place}")
        wrong = refusal(f"mysql://ada:geheim@{place}")
        socket_alone = refusal(f"mysql://local:geheim@{place}")

    assert type(wrong) is PermissionDenied
    assert "1045" in wrong.seen
    assert type(socket_alone) is PermissionDenied
    assert "unix_socket" in socket_alone.fix


def test_a_password_of_mysql_is_read_at_each_connection(
    any_server: MySQL | MariaDB, tmp_path: Path
) -> None:
    """On every kind of server: refused with the old one, taken with the new one."""
    path, name = tmp_path / "password", f"u_{uuid.uuid4().hex[:8]}"
    source = SecretSource(setting="CDC_MYSQL_PASSWORD_FILE", file=str(path))
    url = parse_url(f"mysql://{name}@127.0.0.1:{any_server.port}", ("mysql",)).with_secret(source)
    with any_server.connect() as root, root.cursor() as cursor:
        cursor.execute(f"CREATE USER {name}@localhost IDENTIFIED BY 'first'")
        try:
            path.write_text("first")
            mysql_connection.connect(url).close()
            cursor.execute(f"ALTER USER {name}@localhost IDENTIFIED BY 'second'")
            with pytest.raises(PermissionDenied, match="refuses the login") as caught:
                mysql_connection.connect(url)
            path.write_text("second")
            mysql_connection.connect(url).close()
        finally:
            cursor.execute(f"DROP USER {name}@localhost")

    assert caught.value.is_login
    assert f"the file {path} (CDC_MYSQL_PASSWORD_FILE)" in caught.value.fix
