"""The order in which tests are given to processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.support.order import FOLDERS, LONGEST, dealt

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class One:
    """A test: its file, and its number in it."""

    path: Path
    number: int = 0


def some(file: str, count: int) -> list[One]:
    """Return that many tests of a file."""
    return [One(Path(file), number) for number in range(count)]


def test_each_part_begins_with_a_long_test() -> None:
    """Every test is still there, and no process ends with a long one."""
    tests = some("tests/integration/test_catalog.py", 9) + some("tests/fault/test_links.py", 3)
    out = dealt(tests, 3)

    assert sorted(out, key=tests.index) == tests
    parts = [n for n, test in enumerate(out) if test.path.name == "test_links.py"]
    assert parts == [0, 10, 11]


def test_the_tests_of_a_file_with_shared_fixtures_stay_together() -> None:
    """The fixtures are set up in one process only."""
    files = ["tests/integration/test_a.py", "tests/integration/test_b.py"]
    tests = [test for file in files for test in some(file, 4)]

    assert dealt(tests, 2) == tests


def test_the_files_listed_as_longest_exist() -> None:
    """A renamed file is renamed in the list too."""
    existing = {path.name for folder in FOLDERS for path in (TESTS / folder).glob("test_*.py")}

    assert set(LONGEST) <= existing
