"""What a run ran on."""

from __future__ import annotations

import datetime as dt
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from benchmarks import debezium
from benchmarks.servers import Servers
from cdc import compiled

PACKAGES = ("binlog-cdc", "mysql-replication", "nats-py", "redis", "hiredis", "msgspec")


def describe(servers: Servers) -> dict[str, str]:
    """Return ``{"date": "2026-11-23", "CPU": "2 x AMD EPYC", …}``; the load before the run too."""
    facts = {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "CPU": f"{len(os.sched_getaffinity(0))} x {_cpu_model()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "kernel": platform.release(),
        "Python": platform.python_version(),
    }
    for server in (servers.mysql, servers.nats, servers.redis):
        facts[server.name] = server.version
    found = all(compiled.native(package) for package in compiled.PACKAGES)
    facts["hot path"] = "compiled" if found else "pure Python"
    for package in PACKAGES:
        facts[f"{package} (Python)"] = metadata.version(package)
    java = _java()
    if java and debezium.version():
        facts["Debezium"] = f"{debezium.version()} on {java}"
    return facts


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model"}:
            return value.strip()
    return platform.machine()


def _java() -> str:
    java = shutil.which("java")
    if java is None:
        return ""
    said = subprocess.run([java, "-version"], capture_output=True, text=True).stderr
    return said.splitlines()[0] if said else ""
