"""What the kernel knows of a process: CPU time, peak memory, children.  Linux only.

Source: proc(5), `/proc/<pid>/stat` and `/proc/<pid>/status`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """Return the fields after the name, which may itself contain blanks and brackets."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def cpu_s(pid: int) -> float:
    """Return user and system time that a process has used, in seconds; 0.0 when it is gone."""
    try:
        fields = _stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def cpu_all_s(processes: dict[str, int]) -> dict[str, float]:
    """Return the CPU time of each: ``{"reader": 1.25}``."""
    return {name: cpu_s(pid) for name, pid in processes.items()}


def percent_of_a_core(
    before: dict[str, float], after: dict[str, float], lasted_s: float
) -> dict[str, float]:
    """Return how busy each process was between two moments: ``{"reader": 12.5}``."""
    return {name: (after[name] - before.get(name, 0.0)) / lasted_s * 100 for name in after}


def peak_bytes(pid: int) -> int:
    """Return the greatest resident memory that a process has had; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = [line for line in lines if line.startswith("VmHWM:")]
    return int(found[0].split()[1]) * 1024 if found else 0


def reset_peak(pid: int) -> None:
    """Begin the peak anew from what is resident now.

    Source: proc(5), `/proc/<pid>/clear_refs`, value 5.
    """
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def command(pid: int) -> str:
    """Return a process's arguments, separated by blanks; empty when it is gone."""
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
    except (FileNotFoundError, ProcessLookupError):
        return ""


def descendants(root: int) -> list[int]:
    """Return the process and all its children's children, in order of their ids."""
    parents = {pid: _parent(pid) for pid in _all_pids()}
    found = {root}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return sorted(found)


def _all_pids() -> Iterable[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _parent(pid: int) -> int:
    try:
        return int(_stat(pid)[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
