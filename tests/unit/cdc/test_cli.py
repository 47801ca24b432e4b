"""The command without servers: help, typos, refusals, exit codes, and that it starts quickly."""

from __future__ import annotations

import json
import re
import resource
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from cdc.cli import cli
from cdc.commands.options import WithSettings
from cdc.setting_groups import SHOWN
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


def _commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> dict[str, click.Command]:
    """Return all commands by what is typed: ``dead list``."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        found[" ".join((*path, name))] = command
        if isinstance(command, click.Group):
            found |= _commands(command, (*path, name))
    return found


COMMANDS = _commands()
WITH_SETTINGS = {name: one for name, one in COMMANDS.items() if isinstance(one, WithSettings)}
LOOKING = ("check", "dead list", "dead show", "status", "tail", "verify", "wait")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_help_has_the_same_layout(name: str) -> None:
    """What it does, examples, usage, options; and its line in the list is whole."""
    text = cdc(*name.split(), "--help", COLUMNS="80").stdout
    group = cdc(*name.split()[:-1], "--help", COLUMNS="80").stdout
    last = name.rpartition(" ")[2]
    (line,) = re.findall(rf"(?m)^  {last} +(\S.*)$", group.partition("Commands:")[2])

    assert text.index("Examples:") < text.index("Usage: ") < text.index("Options:")
    assert text[0].isupper()
    assert line.endswith(".")
    assert not line.endswith("...")
    assert ("All settings: cdc settings" in text) == (name in SHOWN and name != "settings")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_of_a_help_parses(name: str) -> None:
    """Commands and flags in it exist."""
    examples = getattr(COMMANDS[name], "examples", "")
    lines = re.findall(r"(?m)^  cdc (.*?)(?: {3,}\S.*)?$", examples)
    assert lines
    for line in lines:
        typed = re.split(r" [|>] ", line)[0]
        if typed in ("dead", ""):
            continue
        made, context = shlex.split(typed), click.Context(cli)
        command: click.Command = cli
        while isinstance(command, click.Group):
            called = command.get_command(context, made[0])
            assert called is not None, line
            command, made = called, made[1:]
        command.make_context(name, made)


@pytest.mark.parametrize("name", LOOKING)
def test_a_command_that_only_looks_has_a_short_help(name: str) -> None:
    """At most 20 options, its own before those of connections and tables."""
    text = cdc(*name.split(), "--help", COLUMNS="80").stdout

    assert len(re.findall(r"(?m)^  -", text)) <= 20
    assert text.index("--config") < text.index("Connection and tables:")


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_every_command_accepts_every_setting(name: str) -> None:
    """The flags of cdc run can be given to any of them, whatever its help shows."""
    flags = {flag for option in WITH_SETTINGS[name].params for flag in option.opts}

    assert [spec.flag for spec in SPECS.values() if spec.flag not in flags] == []


def test_the_help_of_no_switch_is_a_negation() -> None:
    """--no-snapshot says what it does itself."""
    assert "Skip the initial snapshot." in cdc("run", "--help").stdout


def test_settings_are_listed(tmp_path: Path) -> None:
    """As text and as JSON, with what is set, and never a password."""
    env = {"CDC_MYSQL_URL": "mysql://a:Kanarienvogel@h/shop", "CDC_STREAM": "OTHER"}
    text = cdc("settings", cwd=tmp_path, **env)
    found = json.loads(cdc("settings", "--json", cwd=tmp_path, **env).stdout)
    current = {one["name"]: one["current"] for one in found if one["current"]}

    assert (text.returncode, text.stderr) == (0, "")
    assert all(spec.flag in text.stdout and spec.env in text.stdout for spec in SPECS.values())
    assert current == {"mysql": '"mysql://a:***@h:3306/shop"', "stream": '"OTHER"'}
    assert "Kanarienvogel" not in text.stdout


def test_a_setting_that_is_none_ends_with_2(tmp_path: Path) -> None:
    """With the nearest name; wrong settings end as those of every command."""
    unknown = cdc("settings", "heartbaet_s", cwd=tmp_path)
    wrong = cdc("settings", cwd=tmp_path, CDC_STREM="x")

    assert (unknown.returncode, wrong.returncode) == (2, 78)
    assert "did you mean 'heartbeat_s'" in unknown.stderr


def completed(line: str) -> list[str]:
    """Return what a shell is offered at the end of a line."""
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    done = cdc(_CDC_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    assert (done.returncode, done.stderr) == (0, "")
    return [offer.partition(",")[2] or offer.partition(",")[0] for offer in done.stdout.split()]


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("cdc se", ["settings"]),
        ("cdc dead ", ["drop", "list", "retry", "show"]),
        ("cdc nothing ", sorted(cli.commands)),
        ("cdc check --fix", ["--fix-sql"]),
        ("cdc tail --ser", ["--server-id"]),
        ("cdc run --role ", ["both", "reader", "sink"]),
        ("cdc run --log-level w", ["warning"]),
        ("cdc run --as ", ["string", "hash"]),
        ("cdc tail --format j", ["json"]),
        ("cdc settings heartbeat_i", ["heartbeat_idle_s"]),
        ("cdc completion f", ["fish"]),
        ("cdc run --config ", ["file"]),
    ],
)
def test_a_shell_completes(line: str, offers: list[str]) -> None:
    """Commands, flags, choices and names of settings; for a file the shell's own."""
    assert completed(line) == offers


def test_completing_loads_nothing_heavy() -> None:
    """A key press waits for it."""
    code = (
        "import sys, cdc.cli\n"
        "try: cdc.cli.cli.main([], prog_name='cdc')\n"
        f"finally: print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)\n"
    )
    env = {"_CDC_COMPLETE": "bash_complete", "COMP_WORDS": "cdc run --lo", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )

    assert done.stderr.strip() == "[]"
    assert "plain,--log-level" in done.stdout


def test_the_script_for_bash_completes_in_bash(tmp_path: Path) -> None:
    """It is loaded as a user loads it, and asks the command."""
    (tmp_path / "cdc").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m cdc "$@"\n')
    (tmp_path / "cdc").chmod(0o755)
    script = (
        "source <(cdc completion bash) && COMP_WORDS=(cdc run --role re) COMP_CWORD=3 && "
        '_cdc_completion cdc && echo "${COMPREPLY[@]}" && complete -p cdc'
    )
    done = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "reader"
    assert "_cdc_completion cdc" in done.stdout


@pytest.mark.parametrize(
    ("shell", "line"), [("zsh", "#compdef cdc"), ("fish", "complete --no-files --command cdc")]
)
def test_the_script_of_another_shell_asks_the_command(shell: str, line: str) -> None:
    """What click has, under our name."""
    done = cdc("completion", shell)

    assert done.returncode == 0
    assert line in done.stdout
    assert f"_CDC_COMPLETE={shell}_complete" in done.stdout


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
