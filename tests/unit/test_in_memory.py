"""Servers of the tests have their data in memory where there is room, and only there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.support import in_memory


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of /dev/shm, and no choice made yet."""
    monkeypatch.setattr(in_memory, "MEMORY", tmp_path)
    monkeypatch.setattr(in_memory, "ROOM_BYTES", 1)
    monkeypatch.setattr(tempfile, "tempdir", None)
    # Set, so that what the test sets is undone after it.
    for name in ("PYTEST_DEBUG_TEMPROOT", "TMPDIR"):
        monkeypatch.setenv(name, "")
    return tmp_path


def test_with_room_servers_are_in_memory_and_folders_of_pytest_are_not(memory: Path) -> None:
    """The folders that pytest keeps would fill the memory."""
    before = tempfile.gettempdir()

    in_memory.place_data_in_memory()

    assert tempfile.gettempdir() == str(memory)
    assert os.environ["PYTEST_DEBUG_TEMPROOT"] == before


def test_a_small_memory_is_not_used(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container."""
    monkeypatch.setattr(in_memory, "ROOM_BYTES", 1 << 60)

    in_memory.place_data_in_memory()

    assert tempfile.gettempdir() != str(memory)


def test_a_place_that_was_chosen_is_kept(
    memory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """`TMPDIR` wins."""
    chosen = tmp_path_factory.mktemp("chosen")
    monkeypatch.setenv("TMPDIR", str(chosen))

    in_memory.place_data_in_memory()

    assert tempfile.gettempdir() == str(chosen)
