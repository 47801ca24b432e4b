"""The disk that NATS stores on is full, for real: a small file system in a namespace of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cdc.demo.servers import Nats
from tests.conftest import NewMySQL, NewNats, NewRedis
from tests.support.bench import TABLE, Bench
from tests.support.pipeline import descendants, wait_for

DISK_BYTES = 64 << 20
MOUNTED = f'mount -t tmpfs -o size={DISK_BYTES},mode=700 tmpfs "$0" && exec "$@"'
"""For `sh`: a folder becomes a small disk of the command behind it, and of nobody else."""


def on_a_small_disk(folder: Path, *command: str) -> list[str]:
    """Return a command that sees a small disk in the folder; source: unshare(1)."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", "--mount", *as_root, "sh", "-c", MOUNTED, str(folder), *command]


def seen_by(pid: int, folder: Path) -> Path:
    """Return the folder as another process sees it; source: proc(5), /proc/PID/root."""
    return Path(f"/proc/{pid}/root{folder}")


def fill(folder: Path) -> Path:
    """Leave no byte free; return what takes the room."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 20))
        except OSError:
            pass
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    return filler


@contextmanager
def running(bench: Bench, log: Path, command: list[str], **environment: str) -> Iterator[int]:
    """Run a command with the bench's settings; give its process id."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=os.environ | bench.pipeline.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process.pid
        process.terminate()
        assert process.wait(20) == 0, log.read_text()[-3000:]
    finally:
        for pid in (process.pid, *descendants(process.pid)):
            subprocess.run(["kill", "-KILL", str(pid)], check=False, capture_output=True)
        process.wait()


def write(bench: Bench) -> None:
    """Commit more than fits into what a filled disk may still have."""
    bench.execute(f"UPDATE {TABLE} SET name = REPEAT('x', 80), ver = ver + 1")


def test_the_embedded_nats_goes_on_when_there_is_room_again(
    new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path
) -> None:
    """Said while it lasts; with room the server is started again, and nothing is missing."""
    bench = Bench(new_mysql(options=("--sync-binlog=0",)), new_nats(), new_redis(), tmp_path)
    disk, log = tmp_path / "disk", tmp_path / "log"
    disk.mkdir()
    command = on_a_small_disk(disk, sys.executable, "-m", "cdc", "run")
    with running(bench, log, command, CDC_NATS_URL=f"embedded:{disk}") as pid:
        bench.wait_until_equal()
        filler = fill(seen_by(pid, disk))
        write(bench)
        wait_for(
            "the full disk", lambda: "disk of the embedded nats-server is full" in log.read_text()
        )
        write(bench)
        filler.unlink()
        bench.wait_until_equal()
        assert "disk of the embedded nats-server has room, restarting" in log.read_text()


def test_a_nats_that_stores_nothing_is_told_from_one_that_is_silent(
    new_mysql: NewMySQL, new_nats: NewNats, new_redis: NewRedis, tmp_path: Path
) -> None:
    """It answers all that is asked: what lacks is room, and a restart of it once there is some."""
    disk = tmp_path / "disk"
    disk.mkdir()
    server = new_nats({"jetstream": {"store_dir": str(disk), "max_file_store": 1 << 40}})
    server.stop()
    bench = Bench(new_mysql(options=("--sync-binlog=0",)), server, new_redis(), tmp_path)
    with on_its_small_disk(server, disk) as pid, bench.pipeline as pipeline:
        process = pipeline.run()
        bench.wait_until_equal()
        fill(seen_by(pid, disk))
        write(bench)
        wait_for("the full disk", lambda: "its disk is full or fails" in process.text())
        assert process.is_running()


def is_listening(port: int) -> bool:
    """Say whether something accepts connections."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def on_its_small_disk(server: Nats, disk: Path) -> Iterator[int]:
    """Run a server's program, on its port, with a small disk."""
    command = server.program.command("--config", str(server.folder / "nats-server.conf"))
    process = subprocess.Popen(
        on_a_small_disk(disk, *command), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for("NATS", lambda: is_listening(server.port))
        yield process.pid
    finally:
        process.kill()
        process.wait()
