"""`cdc check` in this process, and its fixes run exactly as they are printed."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shlex
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

from cdc.check.finding import Finding, Report
from cdc.check.servers import ask
from cdc.demo.servers import MariaDB, MySQL, Nats, Redis, Server
from cdc.jetstream.stream import api, close, connect
from cdc.settings import load

NOWHERE = {"mysql": "mysql://root@127.0.0.1:1", "nats": "nats://127.0.0.1:1"} | {
    "redis": "redis://127.0.0.1:1/0"
}
_SECOND_NS = 1_000_000_000


class Quiet:
    """A log of nothing."""

    def warning(self, event: str, **fields: Any) -> None:
        """Say nothing."""


QUIET: Any = Quiet()


def check(*servers: Server | str, role: str = "both", **flags: Any) -> Report:
    """Ask the servers as `cdc check` does; those that are not named are away.

    ``check(mysql, "nats://u:p@127.0.0.1:4222", tables=("shop.users",), adopt=True)``
    """
    urls = dict(NOWHERE)
    for server in servers:
        url = server if isinstance(server, str) else server.url
        urls[url.partition(":")[0]] = url
    given = {
        name: str(v) if isinstance(v, int) and v is not True else v for name, v in flags.items()
    }
    settings = load(urls | given, {})
    return asyncio.run(ask(settings, role, thorough=True))


def found(report: Report, server: str) -> dict[str, Finding]:
    """Return a server's findings by id."""
    return {f.id: f for f in report.findings if f.id.startswith(f"{server}.")}


def run_sql(server: MySQL | MariaDB, finding: Finding) -> None:
    """Run the statements of a fix, as they are printed, as root."""
    assert finding.fix.sql, finding
    with server.connect() as connection, connection.cursor() as cursor:
        for statement in finding.fix.sql:
            cursor.execute(statement)


def with_file(server: MySQL | MariaDB, *findings: Finding) -> None:
    """Restart a server with the lines that fixes have for its configuration file."""
    options = list(server.options)
    for finding in findings:
        assert finding.fix.file is not None, finding
        name, lines = finding.fix.file
        assert name == "my.cnf"
        for line in lines.splitlines():
            variable, _, value = line.removeprefix("# take out: ").partition(" = ")
            option = f"--{variable.replace('_', '-')}={value}"
            if line.startswith("# take out: "):
                options.remove(option)
            elif line != "[mysqld]":
                options.append(option)
    server.stop()
    server.options = tuple(options)
    server.start()


def redis_cli(server: Redis, finding: Finding, *login: str) -> None:
    """Run a fix's command with the real redis-cli, `login` put before it."""
    program, *arguments = shlex.split(finding.fix.command)
    assert program == "redis-cli"
    binary = server.program.binary.with_name("redis-cli")
    command = dataclasses.replace(server.program, binary=binary).command(*login, *arguments)
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout.strip()) == (0, "OK"), done.stdout + done.stderr


def stream_edit(server: Nats, finding: Finding) -> None:
    """Do what ``nats stream edit`` does, from its flags: the program is not among our servers.

    Source: natscli cli/stream_command.go, which puts the flags into the configuration that it has
    read and sends it back.
    """
    words = shlex.split(finding.fix.command)
    assert words[:5] == ["nats", "-s", server.url, "stream", "edit"]
    assert words[6] == "--force"
    asyncio.run(_edited(server, words[5], words[7:]))


async def _edited(server: Nats, stream: str, flags: list[str]) -> None:
    nc = await connect(server.url, name="edit", inbox_prefix="_INBOX_edit", log=QUIET)
    try:
        config = (await api(nc, f"STREAM.INFO.{stream}"))["config"]
        for flag in flags:
            name, _, value = flag.removeprefix("--").partition("=")
            config |= _field(name, value)
        await api(nc, f"STREAM.UPDATE.{stream}", config)
    finally:
        await close(nc)


def _field(name: str, value: str) -> dict[str, Any]:
    field, convert = _FIELDS[name]
    return {field: convert(value)}


def _nanoseconds(text: str) -> int:
    return int(text.removesuffix("s")) * _SECOND_NS


_FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "subjects": ("subjects", lambda text: text.split(",")),
    "retention": ("retention", str),
    "discard": ("discard", str),
    "deny-delete": ("deny_delete", lambda text: not text),
    "max-bytes": ("max_bytes", int),
    "max-age": ("max_age", _nanoseconds),
    "dupe-window": ("duplicate_window", _nanoseconds),
    "replicas": ("num_replicas", int),
    "allow-fast": ("allow_batched", lambda text: not text),
}


def ask_nats(server: Nats | str, subject: str, body: Mapping[str, Any] | None = None) -> Any:
    """Return the answer of JetStream's API."""
    url = server if isinstance(server, str) else server.url

    async def ask() -> Any:
        nc = await connect(url, name="test", inbox_prefix="_INBOX_test", log=QUIET)
        try:
            return await api(nc, subject, dict(body) if body is not None else None)
        finally:
            await close(nc)

    return asyncio.run(ask())


def publish(server: Nats, subject: str, body: bytes) -> None:
    """Store one message; whatever it is."""

    async def send() -> None:
        nc = await connect(server.url, name="test", inbox_prefix="_INBOX_test", log=QUIET)
        try:
            answer = await nc.request(subject, body, timeout=10)
            assert "error" not in json.loads(answer.data), answer.data
        finally:
            await close(nc)

    asyncio.run(send())
