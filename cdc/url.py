"""Where a server is and how to log in there; the only place where passwords live.

Pure, but for `Url.ssl_context`, which reads certificate files.  ``str`` and ``repr`` of a
`Url` hide the password, and no error of this module quotes the text that it read.  A password
that is kept elsewhere is no part of a `Url`: `cdc.network.secret` reads it at each connection.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import quote, unquote

from cdc.errors import SettingsError

if TYPE_CHECKING:
    import ssl

TlsMode = Literal["disabled", "required", "verify-ca", "verify-identity"]
TLS_MODES: tuple[TlsMode, ...] = ("disabled", "required", "verify-ca", "verify-identity")
_TLS_OPTIONS = ("ssl-mode", "ssl-ca", "ssl-cert", "ssl-key")

DEFAULT_PORTS = {
    "mysql": 3306,
    "nats": 4222,
    "tls": 4222,
    "redis": 6379,
    "rediss": 6379,
    "embedded": 0,
}
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "mysql": (*_TLS_OPTIONS, "enable-cleartext-plugin"),
    "nats": (*_TLS_OPTIONS, "creds"),
    "tls": (*_TLS_OPTIONS, "creds"),
    "redis": _TLS_OPTIONS,
    "rediss": _TLS_OPTIONS,
}
SHORTEST_HIDDEN = 3
"""A shorter secret is found in every word, and hidden by its place in a URL alone."""

_SENTINEL = (
    "asks for Sentinel, which cdc does not support; use the address of the primary, ideally a name "
    "that follows it: redis://HOST:6379/0"
)
_SOCKET = "names a unix socket, which cdc does not support; give a host and a port on TCP"
_CLUSTER = "asks for a cluster, which cdc does not support: data and position need one server"
_NOT_SUPPORTED = {
    "sentinel": _SENTINEL,
    "redis+sentinel": _SENTINEL,
    "rediss+sentinel": _SENTINEL,
    "redis-sentinel": _SENTINEL,
    "unix": _SOCKET,
    "redis+socket": _SOCKET,
    "redis-socket": _SOCKET,
    "mysql+unix": _SOCKET,
    "redis+cluster": _CLUSTER,
    "redis-cluster": _CLUSTER,
    "ws": "asks for a websocket, which cdc does not support; write nats:// or tls://",
    "wss": "asks for a websocket, which cdc does not support; write nats:// or tls://",
}
"""What other programs accept and cdc does not: the error explains it, as it is no typo."""

_SHAPE = re.compile(
    r"(?P<scheme>[a-z]+)://(?P<authority>[^/?]*)(?P<path>/[^?]*)?(\?(?P<query>.*))?"
)
_HOST = re.compile(r"(\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s:@\[\]]+))(:(?P<port>[0-9]{1,5}))?")
_LOGIN = re.compile(r"(://[^\s:@/]*:)\S*@")
_TOKEN = re.compile(r"((?:nats|tls)://)[^\s:@/]+@")
_ENCODE = "write @ : / ? # % in a user name or password percent-encoded: %40 %3A %2F %3F %23 %25"


READ_KEPT = 8
"""So many secrets that were read are known, to be hidden in log lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSource:
    """Where the secret of a login is read, at each connection: a file, or a program that prints it.

    >>> print(SecretSource(setting="CDC_MYSQL_PASSWORD_FILE", file="/run/secrets/mysql"))
    the file /run/secrets/mysql (CDC_MYSQL_PASSWORD_FILE)
    """

    setting: str
    """Where it was named: ``CDC_MYSQL_PASSWORD_FILE``, ``mysql_password_command``."""
    file: str = ""
    holds_url: bool = False
    """The file has a whole URL; its user and password are taken, not its host."""
    command: tuple[str, ...] = ()
    """The program and its arguments; empty: it is a file."""
    was_read: list[str] = field(default_factory=list, compare=False, repr=False)
    """The newest secrets from there, which are hidden in log lines and never used again."""

    def __str__(self) -> str:
        what = f"program {self.command[0]}" if self.command else f"file {self.file}"
        return f"the {what} ({self.setting})"

    def note(self, secret: str) -> None:
        """Remember a secret, so that it can be hidden."""
        if secret and secret not in self.was_read:
            self.was_read.append(secret)
            del self.was_read[:-READ_KEPT]


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """A server's address.

    >>> url = parse_url("mysql://ada:p%40ss@db.example:3307/shop?ssl-ca=/etc/ca.pem", ("mysql",))
    >>> url.host, url.port, url.user, url.password, url.database
    ('db.example', 3307, 'ada', 'p@ss', 'shop')
    >>> print(url)
    mysql://ada:***@db.example:3307/shop?ssl-ca=/etc/ca.pem
    """

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    """``(("127.0.0.1", 4222),)``; several for a NATS cluster alone; none when embedded."""
    user: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    """The path without its slash: MySQL's default schema, Redis' number, embedded's folder."""
    options: tuple[tuple[str, str], ...] = ()
    """``(("ssl-mode", "disabled"),)``"""
    secret: SecretSource | None = None
    """Where the password is; None: in `password`, if there is one."""

    @property
    def host(self) -> str:
        """The first host, without brackets."""
        return self.hosts[0][0]

    @property
    def port(self) -> int:
        """The first host's port."""
        return self.hosts[0][1]

    @property
    def address(self) -> str:
        """``127.0.0.1:3306``, for messages; several are joined by commas."""
        if self.scheme == "embedded":
            return f"embedded:{self.database}"
        return ",".join(_join(host, port) for host, port in self.hosts)

    @property
    def is_loopback(self) -> bool:
        """Whether every host is this machine by its own name or number."""
        return all(_is_loopback(host) for host, _ in self.hosts)

    @property
    def tls_mode(self) -> TlsMode:
        """What is asked of TLS.

        ``ssl-mode`` when given.  Else MySQL is verified unless the host is loopback; NATS and
        Redis say it in the scheme: ``tls`` and ``rediss`` are verified, ``nats`` and ``redis``
        are not encrypted.
        """
        for mode in TLS_MODES:
            if self.option("ssl-mode") == mode:
                return mode
        if self.scheme in ("tls", "rediss") or self.option("ssl-ca"):
            return "verify-identity"
        if self.scheme == "mysql" and not self.is_loopback:
            return "verify-identity"
        return "disabled"

    def option(self, name: str, default: str = "") -> str:
        """Return an option of the query, such as ``ssl-ca``."""
        return dict(self.options).get(name, default)

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the context of `tls_mode`; None: no TLS.

        Raises:
            SettingsError: a file of certificates or keys cannot be used; names it.
        """
        if self.tls_mode == "disabled":
            return None
        import ssl

        for name in ("ssl-ca", "ssl-cert", "ssl-key"):
            self._check_file(name)
        try:
            context = ssl.create_default_context(cafile=self.option("ssl-ca") or None)
        except ssl.SSLError:
            raise self._unusable(("ssl-ca",), "holds no certificate in PEM") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = self.tls_mode == "verify-identity"
        if self.tls_mode == "required":
            context.verify_mode = ssl.CERT_NONE
        if self.option("ssl-cert"):
            key = self.option("ssl-key") or None
            try:
                # Without a function OpenSSL would ask for a password on the terminal.
                context.load_cert_chain(self.option("ssl-cert"), key, password=lambda: "")
            except ssl.SSLError as error:
                why = "do not belong together" if "MISMATCH" in (error.reason or "") else (
                    "hold no certificate with its key in PEM, or the key has a password"
                )  # fmt: skip
                names = ("ssl-cert", "ssl-key") if key else ("ssl-cert",)
                raise self._unusable(names, why) from None
        return context

    def _check_file(self, option: str) -> None:
        if not self.option(option):
            return
        try:
            with Path(self.option(option)).open("rb"):
                pass
        except (OSError, ValueError) as error:
            raise self._unusable(
                (option,), f"cannot be read: {getattr(error, 'strerror', None) or error}"
            ) from None

    def _unusable(self, names: Sequence[str], why: str) -> SettingsError:
        server = {"mysql": "MySQL", "redis": "Redis", "rediss": "Redis"}.get(self.scheme, "NATS")
        files = " and ".join(f"{name}={self.option(name)}" for name in names)
        return SettingsError(
            f"{files} of the {server} URL {why}",
            safe="nothing was connected to",
            fix="check ssl-ca, ssl-cert and ssl-key in it: files in PEM that cdc may read",
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be printed: the password, or the token without a user."""
        own = self.user if self._has_token else self.password
        known = [own, *(self.secret.was_read if self.secret else ())]
        return tuple(form for one in known if one for form in (one, quote(one, safe="")))

    @property
    def _is_nats(self) -> bool:
        return self.scheme in ("nats", "tls")

    @property
    def _has_token(self) -> bool:
        return self._is_nats and not self.password and self.secret is None

    @property
    def login_fix(self) -> str:
        """What to look at where a login is refused: ``check user and password in …``."""
        if self.secret is not None:
            return (
                f"check user and password; the password is read from {self.secret}\n"
                "at each connection"
            )
        if self.option("creds"):
            return "check the file of ?creds= in the NATS URL; it is read at each connection"
        name = {"mysql": "MYSQL", "nats": "NATS", "tls": "NATS"}.get(self.scheme, "REDIS")
        what = "user and password (or token)" if self._is_nats else "user and password"
        variables = f"CDC_{name}_URL,\nCDC_{name}_PASSWORD_FILE"
        return f"check {what} in the {name.lower()} setting ({variables})"

    def with_password(self, password: str) -> Self:
        """Return the same address with this password; of NATS without a user it is the token."""
        if self._is_nats and not self.user:
            return replace(self, user=password, password="", secret=None)
        return replace(self, password=password, secret=None)

    def with_secret(self, secret: SecretSource) -> Self:
        """Return the same address with a password that is read at each connection."""
        user = "" if self._has_token and secret.holds_url else self.user
        return replace(self, user=user, password="", secret=secret)

    def with_database(self, database: str) -> Self:
        """Return the same address with this database."""
        return replace(self, database=database)

    def reveal(self) -> str:
        """Return the whole URL, password included: for a connection, never for a person."""
        return self._text(quote(self.password, safe=""))

    def __str__(self) -> str:
        if self._has_token and self.user:
            return replace(self, user="")._text("").replace("://", "://***@", 1)
        return self._text("***" if self.password or (self.secret and self.user) else "")

    def __repr__(self) -> str:
        return f"<Url {self}>"

    def _text(self, password: str) -> str:
        if self.scheme == "embedded":
            return f"embedded:{self.database}"
        login = quote(self.user, safe="") + (f":{password}" if password else "")
        path = f"/{quote(self.database, safe='')}" if self.database else ""
        query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in self.options)
        return "".join((self.scheme, "://", login, "@" if login else "", self.address, path)) + (
            f"?{query}" if query else ""
        )


def parse_url(text: str, schemes: tuple[str, ...]) -> Url:
    """Return the address that a text means.

    Args:
        schemes: those that fit here, such as ``("redis", "rediss")``.

    Raises:
        ValueError: what is wrong, in words that quote no part of the text but its scheme, host
            and option names.
    """
    text = text.strip()
    if "embedded" in schemes and text.startswith("embedded:"):
        return _embedded(text.removeprefix("embedded:"))
    if (kind := text.partition(":")[0].lower()) in _NOT_SUPPORTED:
        raise ValueError(_NOT_SUPPORTED[kind])
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise ValueError(f"is not of the form {schemes[0]}://user@host:port/…")
    scheme = match["scheme"]
    if scheme not in schemes:
        raise ValueError(f"begins with {scheme}://, expected " + _either(schemes))
    path = (match["path"] or "/")[1:]
    if "#" in text or "@" in path:
        raise ValueError(f"cannot be taken apart; {_ENCODE}")
    login, _, places = match["authority"].rpartition("@")
    if (not places and path) or places.startswith(("%2F", "%2f", "(")) or "unix_socket=" in text:
        raise ValueError(_SOCKET)
    user, _, password = login.partition(":")
    if scheme in ("redis", "rediss") and not re.fullmatch("[0-9]*", path):
        raise ValueError("must end in the number of a Redis database, such as /0")
    if scheme in ("nats", "tls") and path:
        raise ValueError("must end after host:port")
    return Url(
        scheme=scheme,
        hosts=_hosts(scheme, places, many=scheme in ("nats", "tls")),
        user=unquote(user),
        password=unquote(password),
        database=unquote(path),
        options=_options(scheme, match["query"] or ""),
    )


def redact(text: str) -> str:
    """Return a text with the password of every URL in it hidden.

    >>> redact("cannot reach nats://sink:geheim@h:4222")
    'cannot reach nats://sink:***@h:4222'
    """
    return _TOKEN.sub(r"\1***@", _LOGIN.sub(r"\1***@", text))


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return a text without these secrets and without the password of any URL."""
    for secret in secrets:
        if len(secret) >= SHORTEST_HIDDEN:
            text = text.replace(secret, "***")
    return redact(text)


def _embedded(folder: str) -> Url:
    if not folder:
        raise ValueError("names no folder; write embedded:DIR")
    return Url(scheme="embedded", database=folder)


def _hosts(scheme: str, places: str, *, many: bool) -> tuple[tuple[str, int], ...]:
    out: list[tuple[str, int]] = []
    for place in places.split(",") if many else (places,):
        match = _HOST.fullmatch(place.removeprefix(f"{scheme}://"))
        if match is None:
            raise ValueError(f"has no host[:port] that can be read; {_ENCODE}")
        port = int(match["port"] or DEFAULT_PORTS[scheme])
        if not 0 < port < 65536:
            raise ValueError("has a port outside 1 to 65535")
        out.append((match["v6"] or match["name"], port))
    return tuple(out)


def _options(scheme: str, query: str) -> tuple[tuple[str, str], ...]:
    out: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, equals, value = pair.partition("=")
        if name not in _OPTIONS[scheme]:
            near = difflib.get_close_matches(name, _OPTIONS[scheme], 1)
            hint = f"did you mean {near[0]}?" if near else "known are " + _either(_OPTIONS[scheme])
            raise ValueError(f"has an unknown option {name!r}; {hint}")
        if not equals or not value or name in out:
            raise ValueError(f"must give the option {name} one value")
        out[name] = unquote(value)
    if "ssl-mode" in out:
        out["ssl-mode"] = _tls_mode(scheme, out["ssl-mode"])
    if "ssl-key" in out and "ssl-cert" not in out:
        raise ValueError("has ssl-key without ssl-cert")
    return tuple(out.items())


def _tls_mode(scheme: str, text: str) -> str:
    mode = text.lower().replace("_", "-")
    if mode == "preferred":
        raise ValueError(
            "asks for ssl-mode=preferred, which silently falls back to plain text; "
            "write required or disabled"
        )
    if mode not in TLS_MODES:
        raise ValueError("has an ssl-mode other than " + _either(TLS_MODES))
    if mode == "disabled" and scheme in ("tls", "rediss"):
        raise ValueError(f"has {scheme}:// and ssl-mode=disabled, which contradict")
    return mode


def _either(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
