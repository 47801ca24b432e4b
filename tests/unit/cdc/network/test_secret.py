"""The secret of a login as it is now: from a file, or from a program."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from cdc.errors import SettingsError
from cdc.network import secret
from cdc.network.secret import with_secret
from cdc.url import SecretSource, Url, parse_url
from tests.support.pipeline import wait_for

CANARY = "Kanarienvogel"
LOGIN = parse_url("mysql://ada@h/shop", ("mysql",))


def of_file(path: Path, *, holds_url: bool = False) -> SecretSource:
    """Return a source that is a file."""
    return SecretSource(setting="CDC_MYSQL_PASSWORD_FILE", file=str(path), holds_url=holds_url)


def of_program(*command: str) -> SecretSource:
    """Return a source that is a program."""
    return SecretSource(setting="mysql_password_command", command=command)


def shell(script: str) -> Url:
    """Return a URL whose password a script of a shell prints."""
    return LOGIN.with_secret(of_program("sh", "-c", script))


def running_in(group: int) -> list[str]:
    """Return the processes of a group that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, number = path.read_text().rpartition(")")[2].split()[:3]
            if int(number) == group and state != "Z":
                found.append(path.parent.name)
    return found


def refused(url: Url) -> SettingsError:
    """Return why there is no secret; the words never have it."""
    with pytest.raises(SettingsError) as caught:
        with_secret(url)
    assert CANARY not in caught.value.text()
    return caught.value


def test_a_url_with_its_password_is_itself() -> None:
    """Nothing is read where nothing is elsewhere."""
    url = LOGIN.with_password(CANARY)

    assert with_secret(url) is url


def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    """Blanks around the password are no part of it; those that were read are hidden in logs."""
    path = tmp_path / "password"
    url = LOGIN.with_secret(of_file(path))
    found = []
    for text in ("first\n", " second \r\n"):
        path.write_text(text)
        found.append(with_secret(url).password)

    assert found == ["first", "second"]
    assert set(url.secrets) == {"first", "second"}
    assert with_secret(with_secret(url)) == LOGIN.with_password("second")


def test_a_file_with_a_url_gives_user_and_password(tmp_path: Path) -> None:
    """The host stays as it was at the start; of NATS, a token is read as well."""
    path = tmp_path / "url"
    path.write_text(f"mysql://bob:{CANARY}@other/x\n")
    found = with_secret(LOGIN.with_secret(of_file(path, holds_url=True)))
    path.write_text(f"nats://{CANARY}@other\n")
    nats = with_secret(parse_url("nats://h", ("nats",)).with_secret(of_file(path, holds_url=True)))

    assert (found.user, found.password, found.address) == ("bob", CANARY, "h:3306")
    assert (nats.user, nats.password, nats.address) == (CANARY, "", "h:4222")
    assert str(nats) == "nats://***@h:4222"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, a folder, not UTF-8, no URL."""
    path = tmp_path / "password"
    assert "No such file" in refused(LOGIN.with_secret(of_file(path))).seen
    assert "Is a directory" in refused(LOGIN.with_secret(of_file(tmp_path))).seen
    path.write_bytes(b"\xff" + CANARY.encode())
    assert "not UTF-8" in refused(LOGIN.with_secret(of_file(path))).seen
    path.write_text(CANARY)
    error = refused(LOGIN.with_secret(of_file(path, holds_url=True)))
    assert error.seen.startswith(f"the file {path} (CDC_MYSQL_PASSWORD_FILE) has a URL that is not")


def test_a_program_is_run_each_time_without_a_shell(tmp_path: Path) -> None:
    """Its last end of a line goes, and nothing else; each run may print another password."""
    count = tmp_path / "count"
    script = f"echo >> {count}; printf ' token %s of it \\n' $(wc -l < {count})"
    url = shell(script)

    assert [with_secret(url).password for _ in range(2)] == [" token 1 of it ", " token 2 of it "]
    assert with_secret(LOGIN.with_secret(of_program("echo", "$HOME", "*"))).password == "$HOME *"
    assert with_secret(shell("printf 'a\\r\\n'")).password == "a"


def test_a_program_gives_the_token_of_a_nats_url_without_a_user() -> None:
    """With a user, it is that one's password."""
    source = of_program("echo", CANARY)
    found = [with_secret(parse_url(f"nats://{user}h", ("nats",)).with_secret(source))
             for user in ("", "ada@")]  # fmt: skip

    assert [(url.user, url.password) for url in found] == [(CANARY, ""), ("ada", CANARY)]


def test_a_program_gets_neither_the_terminal_nor_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stdin is empty, and what cdc is given in its own variables is not passed on."""
    monkeypatch.setenv("CDC_REDIS_PASSWORD", CANARY)
    monkeypatch.setenv("CLOUD", "west")

    assert with_secret(shell('echo "$CLOUD$CDC_REDIS_PASSWORD$(cat)"')).password == "west"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 3", "ended with exit code 3"),
        (f"echo {CANARY}; echo denied: {CANARY} >&2; exit 1", "exit code 1: denied: ***"),
        ("kill -9 $$", "was ended by signal 9"),
        ("printf '\\033[2J' >&2; exit 1", "exit code 1: \\x1b[2J"),
        ("true", "printed nothing"),
        ("echo; echo", "printed nothing"),
        ("echo", "printed nothing"),
        (f"echo warning; echo {CANARY}", "printed more than one line"),
        ("printf '\\377'", "not UTF-8"),
        (f"yes {CANARY}", "printed more than 65536 bytes"),
        ("yes no >&2", "printed more than 65536 bytes"),
    ],
)
def test_a_program_that_fails_is_named_with_its_words(script: str, words: str) -> None:
    """Its exit code and its stderr, but never what it printed for us."""
    error = refused(shell(script))

    assert error.exit_code == 78
    assert error.seen.startswith("the program sh (mysql_password_command) ")
    assert words in error.seen


@pytest.mark.parametrize("script", ["sleep 60", "sleep 60 & echo x", "exec >&- 2>&-; sleep 60"])
def test_a_program_that_hangs_is_ended(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all that it started; a question would never be answered."""
    monkeypatch.setattr(secret, "COMMAND_TIMEOUT_S", 0.3)
    began_s = time.monotonic()
    error = refused(shell(f"echo $$ > {tmp_path}/pid; {script}"))

    assert "did not end within 0.3 s" in error.seen
    assert time.monotonic() - began_s < 10
    group = int((tmp_path / "pid").read_text())
    wait_for("the end of what it started", lambda: not running_in(group), 10)


def test_a_program_that_is_none_is_named(tmp_path: Path) -> None:
    """Missing, or not executable."""
    text = tmp_path / "text"
    text.write_text("#!/bin/sh\n")
    missing = refused(LOGIN.with_secret(of_program(str(tmp_path / "none"))))

    assert "cannot be started: No such file" in missing.seen
    assert "cannot be started: Permission" in refused(LOGIN.with_secret(of_program(str(text)))).seen
    assert "cannot be started" in refused(LOGIN.with_secret(of_program("a\0b"))).seen


def test_few_secrets_are_remembered() -> None:
    """A program that prints another one each time fills no memory."""
    source = of_program(sys.executable)
    for number in range(100):
        source.note(f"secret {number}")

    assert source.was_read == [f"secret {number}" for number in range(92, 100)]
