"""`cdc demo`: each change on its whole way, an honest end, and --keep."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from cdc.demo.legacy import DAY
from cdc.errors import PermissionDenied
from cdc.jetstream.stream import close, connect
from tests.support.checking import QUIET
from tests.support.pipeline import descendants, wait_for

COMMAND = [sys.executable, "-P", "-m", "cdc", "demo"]


def test_it_shows_every_change_and_ends_with_0(tmp_path: Path) -> None:
    """For each deed: the SQL, the messages, the values, the latency; at the end, equal."""
    env = os.environ | {"CDC_STREAM": "of the user's own, not for the demo"}
    done = subprocess.run(
        COMMAND, capture_output=True, text=True, timeout=100, cwd=tmp_path, env=env
    )

    assert (done.returncode, done.stderr) == (0, "")
    for deed in DAY:
        assert deed.title in done.stdout
        for statement in deed.statements:
            assert statement in done.stdout
    assert len(re.findall(r"commit → Redis \d+\.\d ms$", done.stdout, re.MULTILINE)) == len(DAY)
    messages = re.findall(r"NATS mysql\.(insert|update|delete)  \{\"key\"", done.stdout)
    assert len(messages) == sum(deed.rows for deed in DAY)
    assert "your_table:3 = (gone)" in done.stdout
    assert "MySQL equals Redis: 5 rows" in done.stdout
    assert "exit code 0" in done.stdout
    assert "\x1b[" not in done.stdout


async def asked_with_and_without_a_login(url: str) -> None:
    """Make sure that NATS answers with the login alone."""
    await close(await connect(url, name="test", inbox_prefix="_INBOX_test", log=QUIET))
    with pytest.raises(PermissionDenied):
        await connect(
            re.sub("://.*@", "://", url), name="test", inbox_prefix="_INBOX_test", log=QUIET
        )


def test_keep_stays_until_it_is_told_to_leave(tmp_path: Path) -> None:
    """It prints three URLs that work, passwords in them, and leaves no process behind."""
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([*COMMAND, "--keep"], stdout=output, stderr=output)
    try:
        wait_for("the URLs", lambda: "until Ctrl-C" in log.read_text(), 100)
        wait_for("the last URL", lambda: "/0\n" in log.read_text().split("Ctrl-C")[-1])
        children = descendants(process.pid)
        urls = [line.strip() for line in log.read_text().split("Ctrl-C")[-1].splitlines()[1:4]]
        passwords = [password for url in urls for password in re.findall(":([a-z]{24})@", url)]
        assert len(passwords) == 3
        for pid in children:
            shown = Path(f"/proc/{pid}/cmdline").read_text()
            assert not any(password in shown for password in passwords)
        with redis.Redis.from_url(urls[2]) as client:
            assert client.exists("your_table:1")
        with redis.Redis.from_url(re.sub("://.*@", "://", urls[2])) as client:
            with pytest.raises(redis.AuthenticationError):
                client.ping()
        asyncio.run(asked_with_and_without_a_login(urls[1]))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    text = log.read_text().partition("until Ctrl-C")[2]

    assert [line.strip().partition(":")[0] for line in text.splitlines()[1:4]] == [
        "mysql",
        "nats",
        "redis",
    ]
    assert len(children) == 6
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
