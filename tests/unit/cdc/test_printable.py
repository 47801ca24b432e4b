"""What of a server's text may reach a terminal, and which passwords are open to others."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc.check.exposed import exposed
from cdc.errors import UnavailableError
from cdc.printable import one_line, printable
from cdc.settings import load
from cdc.telemetry import as_words

EVIL = "a\x1b[2Jb\x9b31mc\rd\x07\u202ee"


def test_control_characters_are_written_out() -> None:
    """In errors and log lines alike; lines and tabs stay where they are ours."""
    shown = r"a\x1b[2Jb\x9b31mc\rd\x07\u202ee"

    assert printable(EVIL) == shown
    assert printable("a\n\tb é 😀") == "a\n\tb é 😀"
    assert one_line("a\nb") == r"a\nb"
    assert UnavailableError(EVIL, fix=EVIL).text() == f"error: {shown}\n  fix:  {shown}"
    assert shown in as_words(False)("info", EVIL, {"error": EVIL})
    assert "\x1b" not in as_words(False)("info", EVIL, {"error": EVIL})


@pytest.mark.parametrize(
    ("mode", "password", "warned"),
    [
        (0o644, ":geheim", True),
        (0o640, ":geheim", True),
        (0o600, ":geheim", False),
        (0o644, "", False),
    ],
)
def test_a_settings_file_that_others_may_read(
    tmp_path: Path, mode: int, password: str, warned: bool
) -> None:
    """Only where it holds a password, and never with it."""
    file = tmp_path / "cdc.toml"
    file.write_text(f'mysql = "mysql://cdc{password}@127.0.0.1"\n')
    file.chmod(mode)
    settings = load({}, {}, file)
    found = list(exposed(settings, {}, file))

    assert [seen for seen, _ in found] == (
        [f"{file} holds a password, and others can read it"] if warned else []
    )


def test_a_password_in_a_flag() -> None:
    """It stands in the list of processes; in the environment it does not."""
    url = "redis://cdc:geheim@127.0.0.1/0"
    flags = {"redis": url, "mysql": "mysql://cdc@127.0.0.1"}
    ((seen, fix),) = exposed(load(flags, {}), flags, None)

    assert seen.startswith("--redis gives a password")
    assert "CDC_REDIS_URL" in fix
    assert "geheim" not in seen + fix
    assert list(exposed(load({}, {"CDC_REDIS_URL": url}), {}, None)) == []
    apart = {"redis": "redis://cdc@h:6379/0"}
    settings = load(apart, {"CDC_REDIS_PASSWORD": "Kanarienvogel"})
    assert list(exposed(settings, apart, None)) == []


def test_a_key_that_others_may_read(tmp_path: Path) -> None:
    """A credentials file is a password too."""
    file = tmp_path / "cdc.creds"
    file.write_text("x")
    file.chmod(0o644)
    flags = {"nats": f"nats://127.0.0.1?creds={file}"}
    assert [seen for seen, _ in exposed(load(flags, {}), flags, None)] == [
        f"creds={file} can be read by others"
    ]
    file.chmod(0o600)
    assert list(exposed(load(flags, {}), flags, None)) == []
