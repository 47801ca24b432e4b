"""A child process that runs until it is stopped, and never longer than this process.

The kernel ends the child when the thread that started it ends (PR_SET_PDEATHSIG is
tied to the thread, not the process), so one thread that lives as long as this process
starts them all.  It sets the signal in a launcher and not in a ``preexec_fn``, which
may deadlock in a process with threads.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LAUNCHER = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Ends with us (1 is PR_SET_PDEATHSIG), then becomes the program under the same id."""

KILL_DEADLINE_S = 30.0
TAIL_BYTES = 16_384


class Child:
    """One running program, with everything that it prints in a file."""

    def __init__(self, command: Sequence[str], log: Path, *, folder: Path) -> None:
        """Start ``command`` in ``folder``, appending its output to ``log``.

        The child has a session of its own: Ctrl-C in the terminal reaches us alone,
        and we stop it when those that use it are done.
        """
        launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid()), *command]
        with log.open("ab") as output:
            self._process = (
                _starter(os.getpid())
                .submit(
                    subprocess.Popen,
                    launcher,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                    start_new_session=True,
                )
                .result()
            )
        self.log = log

    @property
    def pid(self) -> int:
        """Process id; the program's own, since the launcher becomes the program."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """End it with SIGKILL and wait until it is gone."""
        self._process.kill()
        self._process.wait(KILL_DEADLINE_S)

    def stop(self, deadline_s: float) -> None:
        """Ask it to end with SIGTERM; SIGKILL when it is not gone by the deadline."""
        self._process.terminate()
        self.resume()
        try:
            self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def pause(self) -> None:
        """Freeze it with SIGSTOP: its sockets stay open and silent."""
        self._process.send_signal(signal.SIGSTOP)
        # Until the last of its threads has stopped it may answer still.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a frozen one go on; nothing happens to one that runs."""
        self._process.send_signal(signal.SIGCONT)

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines that it printed."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])


@functools.cache
def _starter(process_id: int) -> ThreadPoolExecutor:
    """Return the thread that starts children; a forked process gets one of its own."""
    return ThreadPoolExecutor(1, thread_name_prefix=f"starter-{process_id}")
