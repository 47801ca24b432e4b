"""The command without servers: help, typos, refusals, exit codes, and that it starts quickly."""

from __future__ import annotations

import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cdc.settings import SPECS
from tests.support.pipeline import descendants, wait_for

HEAVY = ("nats", "pymysql", "redis", "rich", "asyncio", "pymysqlreplication")
HELP_S = 0.15


def cdc(*arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "cdc", *arguments],
        env={"PATH": "/usr/bin:/bin", **env},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_help_begins_with_examples() -> None:
    """What it does, how it is used, and only then the options."""
    for arguments in (("--help",), ("-h",), ()):
        done = cdc(*arguments)
        assert done.returncode == 0
        assert done.stdout.index("cdc run --table your_table") < done.stdout.index("Options:")
        assert done.stderr == ""


def test_help_of_run_has_every_setting() -> None:
    """Each setting is a flag, with its default."""
    text = cdc("run", "--help").stdout
    flags = [spec.flag for spec in SPECS.values()]

    assert [flag for flag in flags if flag not in text] == []
    assert text.index("cdc run --table your_table") < text.index("Options:")


def test_help_loads_nothing_heavy() -> None:
    """What a command does not need is not imported."""
    code = (
        "import sys, cdc.cli\n"
        "try: cdc.cli.cli.main(['run', '--help'], standalone_mode=False)\n"
        f"finally: print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stderr.strip() == "[]"


def test_help_comes_at_once() -> None:
    """Under 150 ms of processor time, which other work on this machine does not add to."""
    taken_s = []
    for _ in range(7):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        cdc("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    assert min(taken_s) < HELP_S


def test_version_is_the_package_s() -> None:
    """``cdc version`` and ``cdc --version`` agree."""
    assert cdc("version").stdout == cdc("--version").stdout == "cdc 0.1.0 (compiled)\n"
    assert cdc("version", CDC_PURE_PYTHON="1").stdout == "cdc 0.1.0 (pure Python, slower)\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rum",), "did you mean 'run'"),
        (("run", "--tabel", "x"), "--table"),
        (("run", "--role", "sin"), "'both', 'reader', 'sink'"),
        (("run", "x"), "unexpected extra argument"),
        (("run", "--stream"), "requires an argument"),
        (("run", "--table", "a", "--value", "v", "--as", "hash"), "keep one"),
        (("run", "--table", "a", "--table", "b", "--key", "{id}"), "must contain {table}"),
        (("run", "--role", "sink", "--table", "a"), "--table shop.a"),
        (("run", "--role", "reader", "--nats", "embedded:x", "--table", "a.b"), "embedded"),
    ],
)
def test_a_wrong_command_line_ends_with_2(
    arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    """One error on stderr with what was meant or what to do; nothing on stdout."""
    dead = {f"CDC_{name}_URL": f"{name.lower()}://127.0.0.1:1" for name in ("NATS", "REDIS")}
    if "embedded:x" in arguments:
        del dead["CDC_NATS_URL"]
    done = cdc(*arguments, cwd=tmp_path, **dead)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_at_once_while_a_server_is_silent(tmp_path: Path) -> None:
    """130 long before the server's time is up, and the roles that wait for their job leave."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        url = f"mysql://root@127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-P", "-m", "cdc", "run", "--table", "a.b", "--mysql", url]
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as running:
            connected, _ = server.accept()
            with connected:
                wait_for("both roles", lambda: len(descendants(running.pid)) == 2)
                roles = descendants(running.pid)
                began_s = time.monotonic()
                running.send_signal(signal.SIGINT)
                assert running.wait(30) == 130
                took_s = time.monotonic() - began_s
    assert took_s < 5
    wait_for("the roles to leave", lambda: not any(Path(f"/proc/{p}").exists() for p in roles))


@pytest.mark.parametrize("env", [{"CDC_STREM": "x"}, {"CDC_CONFIG": "nowhere.toml"}])
def test_a_wrong_variable_ends_with_78(env: dict[str, str], tmp_path: Path) -> None:
    """Settings that nobody typed have an exit code of their own."""
    done = cdc("run", "--table", "a", cwd=tmp_path, **env)

    assert done.returncode == 78
    assert done.stderr.startswith("error: CDC_")
    assert "nothing was connected to, nothing written" in done.stderr


def test_an_unexpected_error_is_one_text_with_70(tmp_path: Path) -> None:
    """A bug shows its kind and place, no trace and no data; with --debug the trace too."""
    code = (
        "import sys, cdc.cli, cdc.settings\n"
        "def broken(*a): raise RuntimeError('Kanarienvogel')\n"
        "cdc.settings.load = broken\n"
        "cdc.cli.main(['run', '--table', 'a', *sys.argv[1:]])\n"
    )

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, *more]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    plain, debug = run(), run("--debug")

    assert (plain.returncode, debug.returncode) == (70, 70)
    assert "RuntimeError in cdc/commands/options.py:" in plain.stderr
    assert "Traceback" not in plain.stderr
    assert "Kanarienvogel" not in plain.stderr
    assert "Traceback" in debug.stderr
