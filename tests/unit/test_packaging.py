"""What setup.cfg says against what stands in the tree."""

from __future__ import annotations

import configparser
import importlib
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from cdc.compiled import PACKAGES

ROOT = Path(__file__).parents[2]
TOP_LEVEL = ("cdc", "cdc_reader", "redis_sink", "cdc_verify")


@pytest.fixture
def setup() -> configparser.ConfigParser:
    """setup.cfg, read."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    return parser


def _lines(value: str) -> list[str]:
    return [line for line in value.splitlines() if line and not line.startswith("#")]


def test_every_package_is_listed(setup: configparser.ConfigParser) -> None:
    """The list is what is in the tree: a package that is forgotten is not installed."""
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for name in TOP_LEVEL
        for path in (ROOT / name).rglob("__init__.py")
    }

    assert found == set(_lines(setup["options"]["packages"]))


def test_every_module_is_in_a_package() -> None:
    """A folder with modules has an __init__.py."""
    folders = {path.parent for name in TOP_LEVEL for path in (ROOT / name).rglob("*.py")}

    assert set() == {folder for folder in folders if not (folder / "__init__.py").exists()}


def test_every_package_is_marked_as_typed(setup: configparser.ConfigParser) -> None:
    """py.typed is there and is installed."""
    for name in TOP_LEVEL:
        assert (ROOT / name / "py.typed").exists()
        assert "py.typed" in setup["options.package_data"][name]


def test_config_is_no_package() -> None:
    """An installed package called config would shadow the one of an application."""
    assert [] == list((ROOT / "config").rglob("*.py"))


def test_pyproject_has_the_build_system_alone() -> None:
    """All metadata is in setup.cfg."""
    assert ["build-system"] == list(tomllib.loads((ROOT / "pyproject.toml").read_text()))


def test_the_command_is_called_cdc(setup: configparser.ConfigParser) -> None:
    """The console script is what the README runs."""
    scripts = _lines(setup["options.entry_points"]["console_scripts"])

    assert ["cdc = cdc.cli:main"] == scripts


def test_mysql_replication_is_pinned(setup: configparser.ConfigParser) -> None:
    """Its private names that we use are known for one version only."""
    requirements = _lines(setup["options"]["install_requires"])

    assert "mysql-replication==1.0.17" in requirements


def test_every_requirement_has_a_bound(setup: configparser.ConfigParser) -> None:
    """What pip chooses is at least what was tried."""
    extras = setup["options.extras_require"]
    requirements = _lines(setup["options"]["install_requires"])
    requirements += [line for extra in extras.values() for line in _lines(extra)]
    own = f"{setup['metadata']['name']}[embedded]"

    assert [own] == [line for line in requirements if not re.search(r"[=>]=", line)]


def test_the_servers_folder_is_ignored() -> None:
    """Downloaded programs never reach a commit."""
    assert "/.servers/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_hot_path_is_built_from_the_c_sources_as_they_are() -> None:
    """A compiler's error does not stop an installation; without a compiler nothing is built."""
    assert shutil.which("cc") is None or [_why_not_built(name) for name in PACKAGES] == ["", "", ""]


def _why_not_built(package: str) -> str:
    """Return why a package's compiled module is not what its sources are; empty: it is."""
    try:
        module = importlib.import_module(f"{package}._native")
    except ImportError as error:
        return f"{error}: run pip install --editable . --verbose to see why"
    sources = [*(ROOT / package / "native").glob("*.[ch]"), *(ROOT / "cdc/native").glob("*.h")]
    changed = max(sources, key=lambda path: path.stat().st_mtime)
    is_old = changed.stat().st_mtime > Path(str(module.__file__)).stat().st_mtime
    return f"{changed.relative_to(ROOT)} is newer than it: run make venv" if is_old else ""
