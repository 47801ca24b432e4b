"""The arrows between modules, and the shape of each, as docs/architecture.md says them.

The source is read, not imported: an import inside a function counts as well, and is told
apart from one at the top of a module.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("cdc", "cdc_reader", "redis_sink", "cdc_verify")
SIDES = ("cdc_reader", "redis_sink")
WITNESS = "cdc_verify"
"""Compares what both sides come to: it knows neither, and neither knows it."""
MAX_LINES = 450
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "handler"}

PURE = (
    "cdc_reader.resume",
    "cdc.account_check",
    "cdc.check_report",
    "cdc.stream_size",
    "cdc.compiled",
    "cdc.errors",
    "cdc.estimate",
    "cdc.finding",
    "cdc.kept",
    "cdc.key",
    "cdc.key_overlap",
    "cdc.form",
    "cdc.mask",
    "cdc.message",
    "cdc.partition",
    "cdc.position",
    "cdc.own_keys",
    "cdc.printable",
    "cdc.reasons",
    "cdc.redis_options",
    "cdc.room_check",
    "cdc.seal",
    "cdc.setting",
    "cdc.sink_state",
    "cdc.status",
    "cdc.status_text",
    "cdc.table",
    "cdc.table_list",
    "cdc.table_settings",
    "cdc_reader.beat",
    "cdc_reader.body_source",
    "cdc_reader.charset",
    "cdc_reader.column_source",
    "cdc_reader.coordinates",
    "cdc_reader.dialect",
    "cdc_reader.engine",
    "cdc_reader.event",
    "cdc_reader.identity",
    "cdc_reader.image_source",
    "cdc_reader.json_binary",
    "cdc_reader.key_range",
    "cdc_reader.lanes",
    "cdc_reader.long_event",
    "cdc_reader.models",
    "cdc_reader.pace",
    "cdc_reader.oversize",
    "cdc_reader.packet",
    "cdc_reader.payload",
    "cdc_reader.published",
    "cdc_reader.row_codec",
    "cdc_reader.row_plan",
    "cdc_reader.select_codec",
    "cdc_reader.session",
    "cdc_reader.shape",
    "cdc_reader.shaped_rows",
    "cdc_reader.source_check",
    "cdc_reader.statement",
    "cdc_reader.table_map",
    "cdc_reader.transaction",
    "cdc_reader.unique_key",
    "cdc_reader.value",
    "redis_sink.applied",
    "redis_sink.batch",
    "redis_sink.counts",
    "redis_sink.plan",
    "redis_sink.planning",
    "redis_sink.refreshing",
    "redis_sink.row_hash",
    "redis_sink.server_check",
    "redis_sink.share",
    "redis_sink.state",
    "redis_sink.verdict",
    "cdc_verify.boundary",
    "cdc_verify.checkpoint",
    "cdc_verify.compare",
    "cdc_verify.expected",
    "cdc_verify.inverse",
    "cdc_verify.parted",
    "cdc_verify.parts",
    "cdc_verify.printed",
    "cdc_verify.report",
    "cdc_verify.select",
)
IO = {
    "asyncio",
    "hiredis",
    "http",
    "multiprocessing",
    "nats",
    "pymysql",
    "pymysqlreplication",
    "redis",
    "select",
    "selectors",
    "signal",
    "socket",
    "subprocess",
    "threading",
}
TABLES_OF_PYMYSQL = {
    ("cdc_reader.charset", "pymysql.charset"),
    ("cdc_reader.select_codec", "pymysql.converters"),
}
"""Data without IO: names of collations, and how Python values are encoded."""

ASKS_A_SIDE = ("cdc.preflight",)
"""The only modules of `cdc` that name a side in an import, inside functions alone."""
BY_NAME = "cdc.role"
"""Loads a side by its name as a text, when it runs."""


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module."""

    name: str
    inside_function: bool
    for_types_only: bool


def _path(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _modules() -> list[str]:
    paths = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
    return sorted(name.removesuffix(".__init__") for name in names)


MODULES = _modules()
TREES = {module: ast.parse(_path(module).read_text("utf-8")) for module in MODULES}


def _imports(module: str) -> list[Import]:
    return list(_walk(TREES[module], inside_function=False, for_types_only=False))


def _walk(node: ast.AST, *, inside_function: bool, for_types_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, inside_function, for_types_only)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are written out, never relative"
            for name in _names_of(child):
                yield Import(name, inside_function, for_types_only)
        else:
            deeper = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from _walk(
                child,
                inside_function=inside_function or deeper,
                for_types_only=for_types_only or typing,
            )


def _names_of(node: ast.ImportFrom) -> set[str]:
    """Return ``from a import b`` as ``a.b`` where that is a module of ours, else as ``a``."""
    names = {f"{node.module}.{alias.name}" for alias in node.names}
    return {name if name in MODULES else str(node.module) for name in names}


def _package(name: str) -> str:
    return name.partition(".")[0]


def _needed(module: str) -> set[str]:
    """Return the modules of ours that importing this one imports, itself included."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting += [
            i.name
            for i in _imports(name)
            if i.name in MODULES and not i.inside_function and not i.for_types_only
        ]
    return found


@pytest.mark.parametrize("side", SIDES)
def test_the_two_sides_never_import_each_other(side: str) -> None:
    """cdc_reader and redis_sink share cdc alone."""
    other = next(name for name in SIDES if name != side)

    assert [] == [
        (module, i.name)
        for module in MODULES
        if _package(module) == side
        for i in _imports(module)
        if _package(i.name) == other
    ]


def test_verify_shares_nothing_with_the_sides() -> None:
    """A mistake of theirs is not made twice: it imports cdc alone, and nobody imports it."""
    named = {
        (_package(module), _package(i.name))
        for module in MODULES
        for i in _imports(module)
        if WITNESS in (_package(module), _package(i.name)) and _package(i.name) in PACKAGES
    }

    assert named == {(WITNESS, WITNESS), (WITNESS, "cdc")}


def test_cdc_imports_no_side() -> None:
    """What both agree on knows neither; preflight asks a side inside functions alone."""
    named = {
        (module, i.inside_function)
        for module in MODULES
        if _package(module) == "cdc"
        for i in _imports(module)
        if _package(i.name) in SIDES
    }

    assert {(module, True) for module in ASKS_A_SIDE} == named


def test_a_side_is_named_as_a_text_in_one_module() -> None:
    """``"cdc_reader.reader:run"`` stands where roles are loaded, and nowhere else in cdc."""
    found = {
        module
        for module in MODULES
        if _package(module) == "cdc"
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith(tuple(f"{side}." for side in (*SIDES, WITNESS)))
    }

    assert {BY_NAME} == found


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_needs_no_io(module: str) -> None:
    """A decision is a function of values: no socket, loop or client, however far away."""
    assert [] == [
        (name, i.name)
        for name in sorted(_needed(module))
        for i in _imports(name)
        if _package(i.name) in IO and (name, i.name) not in TABLES_OF_PYMYSQL
    ]


def test_every_exception_for_pure_modules_is_needed() -> None:
    """An exception that nobody uses any more is taken out."""
    used = {(module, i.name) for module in PURE for i in _imports(module)}

    assert used >= TABLES_OF_PYMYSQL


def test_modules_do_not_import_in_circles() -> None:
    """A module never needs itself through others."""
    circles = [
        module
        for module in MODULES
        for i in _imports(module)
        if i.name in MODULES
        and not i.inside_function
        and not i.for_types_only
        and i.name != module
        and module in _needed(i.name)
    ]

    assert [] == circles


def test_a_loop_is_imported_by_nobody() -> None:
    """Reader and sink stand at the top of their packages; what they use does not know them."""
    loops = {"cdc_reader.reader", "redis_sink.sink"}

    assert [] == [
        (module, i.name) for module in MODULES for i in _imports(module) if i.name in loops
    ]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_short_and_named_for_what_it_does(module: str) -> None:
    """At most 450 lines, a docstring, and no name that fits everything."""
    lines = _path(module).read_text("utf-8").splitlines()

    assert len(lines) <= MAX_LINES
    assert ast.get_docstring(TREES[module])
    assert not VAGUE_NAMES & set(module.split("."))
