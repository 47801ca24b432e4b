"""The parent of the two roles: restarts, drains, ends, and leaves nobody behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.pipeline import descendants, wait_for
from tests.support.roles import MARK

ROOT = Path(__file__).parents[2]


class Supervised:
    """A supervisor with two small roles, in a process of its own."""

    def __init__(self, folder: Path, *roles: str) -> None:
        """Start it."""
        self._log = folder / "log"
        self.folder = folder
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.roles", *roles],
                env=os.environ | {"PYTHONPATH": str(ROOT), MARK: str(folder / "mark")},
                cwd=folder,
                stdout=output,
                stderr=output,
            )

    def text(self) -> str:
        """All that it printed."""
        return self._log.read_text()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Log lines with these words."""
        found = [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def pids(self) -> dict[str, int]:
        """Process ids of the roles that said that they begin, the newest of each."""
        return {line["role"]: line["pid"] for line in self.lines("begins")}

    def wait_for_lines(self, event: str, count: int) -> None:
        """Wait until so many lines with these words are there."""
        wait_for(f"{count} x {event!r}\n{self.text()}", lambda: len(self.lines(event)) >= count, 20)

    def end(self, number: signal.Signals, deadline_s: float = 12.0) -> tuple[int, float]:
        """Send a signal; return the exit code and the seconds until it ended."""
        began_s = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(deadline_s), time.monotonic() - began_s

    def close(self) -> None:
        """End whatever is left of it."""
        for pid in [*descendants(self.process.pid), *self.pids().values()]:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def is_running(pid: int) -> bool:
    try:
        return "(python" in (text := Path(f"/proc/{pid}/stat").read_text()) and ") Z " not in text
    except OSError:
        return False


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Any]:
    """Start supervisors that end with the test."""
    made: list[Supervised] = []

    def start(*roles: str) -> Supervised:
        made.append(Supervised(tmp_path, *roles))
        return made[-1]

    yield start
    for supervised in made:
        supervised.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_drains_both_roles(started: Any, number: signal.Signals) -> None:
    """Both return by themselves and say their totals; the exit code is 0."""
    run = started("steady", "steady")
    run.wait_for_lines("begins", 2)
    code, took_s = run.end(number)

    assert (code, sorted(line["role"] for line in run.lines("stopped"))) == (0, ["reader", "sink"])
    assert run.lines("stopped")[0]["applied"] == 3
    assert took_s < 10


def test_no_role_begins_before_every_server_said_yes(started: Any) -> None:
    """Both processes are ready when a check fails: none is told its job, none is left."""
    run = started("steady", "steady", "refused")
    code = run.process.wait(20)

    assert (code, run.lines("begins")) == (3, [])
    assert run.text() == "error: a server says no\n  data: nothing was written\n  fix:  fix it\n"
    assert len(list(run.folder.glob("loaded-*"))) == 2
    assert descendants(run.process.pid) == []


def test_a_role_that_is_killed_comes_back_alone(started: Any) -> None:
    """SIGKILL of one: started again, said loudly; the other goes on undisturbed."""
    run = started("steady", "steady")
    run.wait_for_lines("begins", 2)
    before = run.pids()
    os.kill(before["sink"], signal.SIGKILL)
    run.wait_for_lines("begins", 3)
    after = run.pids()

    assert after["reader"] == before["reader"]
    assert after["sink"] != before["sink"]
    (said,) = run.lines("role exited, restarting")
    assert (said["which"], said["how"], said["level"]) == ("sink", "signal 9", "error")
    assert run.end(signal.SIGTERM)[0] == 0


def test_pauses_grow(started: Any) -> None:
    """A role that breaks again and again is started at longer and longer intervals."""
    run = started("breaks", "steady")
    run.wait_for_lines("role exited, restarting", 4)
    said = run.lines("role exited, restarting")

    assert [line["pause_s"] for line in said[:4]] == [0.2, 0.4, 0.8, 1.6]
    assert "RuntimeError in tests" not in run.text()
    assert "RuntimeError in cdc/process/role.py:" in said[0]["why"]
    assert "Kanarienvogel" not in run.text()
    assert "Traceback" not in run.text()
    assert run.end(signal.SIGTERM)[0] == 0


def test_an_error_that_waiting_may_heal_is_tried_again(started: Any) -> None:
    """A role that gives up on a server is started again."""
    run = started("gives_up", "steady")
    run.wait_for_lines("role exited, restarting", 2)

    assert run.lines("role exited, restarting")[0]["why"] == "nobody there"
    assert run.end(signal.SIGTERM)[0] == 0


def test_an_error_that_waiting_does_not_heal_ends_the_run(started: Any) -> None:
    """The other role drains; the error is printed once; the exit code is the error's."""
    run = started("steady", "refuses")
    code = run.process.wait(20)

    assert code == 73
    assert run.text().count("the stream is not ours") == 1
    assert run.text().endswith("  data: nothing was written\n  fix:  look\n")
    assert descendants(run.process.pid) == []


def test_a_second_signal_leaves_at_once(started: Any) -> None:
    """130, long before the drain's deadline, and no child is left."""
    run = started("never_ends", "steady")
    run.wait_for_lines("begins", 2)
    pids = run.pids()
    run.process.send_signal(signal.SIGINT)
    run.wait_for_lines("stopping; a second signal exits immediately, no data is lost either way", 1)
    code, took_s = run.end(signal.SIGINT)

    assert code == 130
    assert took_s < 5
    wait_for("the children to end", lambda: not any(map(is_running, pids.values())), 5)


@pytest.mark.parametrize("role", ["never_ends", "hangs"])
def test_a_drain_that_does_not_end_is_ended(started: Any, role: str) -> None:
    """After 10 s the role is killed, and the exit code says so."""
    run = started(role, "steady")
    run.wait_for_lines("begins", 2)
    pids = run.pids()
    code, took_s = run.end(signal.SIGTERM, 20)

    assert code == 143
    assert 9 < took_s < 14
    assert not any(map(is_running, pids.values()))


@pytest.mark.parametrize("role", ["steady", "hangs"])
def test_children_end_when_the_parent_is_killed(started: Any, role: str) -> None:
    """SIGKILL of the parent leaves no orphan, even one whose loop hangs."""
    run = started(role, "steady")
    run.wait_for_lines("begins", 2)
    pids = run.pids()
    run.end(signal.SIGKILL)

    wait_for("the children to end", lambda: not any(map(is_running, pids.values())), 15)


def test_a_death_does_not_stop_what_died_once(started: Any) -> None:
    """A role that dies at its first start is there at its second."""
    run = started("dies_once", "steady")
    run.wait_for_lines("begins", 2)

    assert run.end(signal.SIGTERM)[0] == 0


@pytest.mark.parametrize("is_closed", [False, True], ids=["reader gone", "closed"])
def test_a_log_that_nobody_reads_ends_nothing(tmp_path: Path, is_closed: bool) -> None:
    """The reader of stderr goes away, or there never was one: the roles work on, and drain."""
    command = 'exec "$0" -m tests.support.roles steady breaks' + (" 2>&- 1>&-" if is_closed else "")
    reading, writing = os.pipe()
    process = subprocess.Popen(
        ["/bin/sh", "-c", command, sys.executable],
        env=os.environ | {"PYTHONPATH": str(ROOT), MARK: str(tmp_path / "mark")},
        cwd=tmp_path,
        stdout=writing,
        stderr=writing,
    )
    os.close(writing)
    os.close(reading)
    # One role breaks again and again, and each time a line is written that goes nowhere.
    wait_for("three starts", lambda: len(list(tmp_path.glob("loaded-*"))) >= 4, 20)
    process.send_signal(signal.SIGTERM)

    assert process.wait(12) == 0


def test_nohup_is_respected(started: Any) -> None:
    """A process that was started with SIGHUP ignored, as by nohup, goes on when it comes."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = started("steady", "steady")
    finally:
        signal.signal(signal.SIGHUP, before)
    run.wait_for_lines("begins", 2)
    run.process.send_signal(signal.SIGHUP)
    os.kill(run.pids()["sink"], signal.SIGKILL)
    run.wait_for_lines("begins", 3)

    assert run.lines("stopped") == []
    assert run.end(signal.SIGTERM)[0] == 0
