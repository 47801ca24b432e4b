"""The arrows between modules, and the shape of each, as docs/architecture.md says them.

The source is read, not imported: an import inside a function counts as well, and is told
apart from one at the top of a module.
"""

from __future__ import annotations

import ast
import functools
import re
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
    "cdc_reader.resume.resume",
    "cdc_reader.resume.trust",
    "cdc_reader.schema.reach",
    "cdc.check.nats_account",
    "cdc.check.report",
    "cdc.jetstream.stream_size",
    "cdc.compiled",
    "cdc.errors",
    "cdc.check.estimate",
    "cdc.check.finding",
    "cdc.init.proposal",
    "cdc.init.settings_file",
    "cdc.jetstream.kept",
    "cdc.key",
    "cdc_reader.catalog.key_overlap",
    "cdc_reader.snapshot.announcement",
    "cdc_reader.snapshot.form",
    "cdc.mask",
    "cdc.mysql.server",
    "cdc.message",
    "cdc.partition",
    "cdc.position",
    "cdc.own_keys",
    "cdc.printable",
    "cdc.check.reasons",
    "cdc.network.redis_options",
    "cdc.check.room",
    "cdc.seal",
    "cdc.setting",
    "cdc.setting_groups",
    "cdc.sink_state",
    "cdc.status.report",
    "cdc.status.text",
    "cdc.table",
    "cdc.table_list",
    "cdc.table_pattern",
    "cdc.table_settings",
    "cdc_reader.publish.beat",
    "cdc_reader.rows.body_source",
    "cdc_reader.binlog.charset",
    "cdc_reader.rows.column_source",
    "cdc_reader.binlog.coordinates",
    "cdc_reader.catalog.dialect",
    "cdc_reader.catalog.entry",
    "cdc_reader.catalog.grants",
    "cdc_reader.catalog.proposal",
    "cdc_reader.binlog.engine",
    "cdc_reader.binlog.event",
    "cdc_reader.rows.identity",
    "cdc_reader.rows.image_source",
    "cdc_reader.rows.json_binary",
    "cdc_reader.snapshot.key_range",
    "cdc_reader.messages.chains",
    "cdc_reader.binlog.long_event",
    "cdc_reader.catalog.table_of",
    "cdc_reader.snapshot.pace",
    "cdc_reader.messages.large",
    "cdc_reader.messages.oversize",
    "cdc_reader.messages.unread",
    "cdc_reader.binlog.packet",
    "cdc_reader.binlog.payload",
    "cdc_reader.resume.published",
    "cdc_reader.rows.parent_rows",
    "cdc_reader.rows.partial_rows",
    "cdc_reader.rows.row_codec",
    "cdc_reader.rows.row_plan",
    "cdc_reader.rows.select_codec",
    "cdc.mysql.session",
    "cdc_reader.rows.shape",
    "cdc_reader.rows.shaped_rows",
    "cdc_reader.catalog.selection",
    "cdc_reader.catalog.source_check",
    "cdc_reader.binlog.statement",
    "cdc_reader.binlog.table_map",
    "cdc_reader.binlog.types",
    "cdc_reader.publish.partial_event",
    "cdc_reader.publish.refusal",
    "cdc_reader.publish.stored",
    "cdc_reader.publish.prepared",
    "cdc_reader.publish.xa_transactions",
    "cdc_reader.binlog.xa",
    "cdc_reader.snapshot.late",
    "cdc_reader.publish.transaction",
    "cdc_reader.schema.change",
    "cdc_reader.schema.columns",
    "cdc_reader.schema.foreign_keys",
    "cdc_reader.schema.names",
    "cdc_reader.catalog.unique_key",
    "cdc_reader.rows.value",
    "redis_sink.plan.applied",
    "redis_sink.plan.batch",
    "redis_sink.plan.counts",
    "redis_sink.plan.planner",
    "redis_sink.plan.chain",
    "redis_sink.plan.full",
    "redis_sink.plan.joiner",
    "redis_sink.plan.tally",
    "redis_sink.plan.refreshing",
    "redis_sink.plan.row_hash",
    "redis_sink.store.server_check",
    "redis_sink.partitions.share",
    "redis_sink.plan.state",
    "redis_sink.store.verdict",
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
    ("cdc_reader.binlog.charset", "pymysql.charset"),
    ("cdc_reader.rows.select_codec", "pymysql.converters"),
}
"""Data without IO: names of collations, and how Python values are encoded."""

ENTRIES = ("cdc.cli", "cdc.__main__")
"""The command's entry points, which load `cdc.commands`."""
ABOVE_ROOMS = ("cdc_reader", "redis_sink")
"""Ground floors with the loop, which uses every room of its side."""

ASKS_A_SIDE = ("cdc.commands.", "cdc.check.servers", "cdc.process.role")
"""The modules of `cdc` that import a side, inside functions: printing help loads neither."""
REMEMBER = ("cdc.process.role", "redis_sink.queries.status")
"""All that a role's process asks of a side: it keeps the error that ended it."""
ENTRY_POINTS = {
    "cdc_reader.reader:run",
    "redis_sink.sink:run",
    "cdc_reader.snapshot.refresh:run",
    "cdc_verify.continuous:run",
}
"""Loaded by a text, as roles in processes of their own."""
LOADERS = {"cdc.process.role", "cdc.compiled"}
"""What loads a module by its name: of a role, and the compiled twin of a package's own."""


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


@functools.cache
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


@functools.cache
def _needed(module: str) -> frozenset[str]:
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
    return frozenset(found)


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
    """A mistake of theirs is not made twice: it imports cdc alone, its command alone imports it."""
    named = {
        (_package(module) if _package(module) == WITNESS else module, _package(i.name))
        for module in MODULES
        for i in _imports(module)
        if WITNESS in (_package(module), _package(i.name)) and _package(i.name) in PACKAGES
    }

    assert named == {(WITNESS, WITNESS), (WITNESS, "cdc"), ("cdc.commands.verify", WITNESS)}


def test_cdc_asks_a_side_inside_functions_alone() -> None:
    """What both agree on knows neither; commands and the checks before a start load a side."""
    named = {
        (module, i.name, i.inside_function or i.for_types_only)
        for module in MODULES
        if _package(module) == "cdc"
        for i in _imports(module)
        if _package(i.name) in (*SIDES, WITNESS)
    }

    assert [] == [one for one in named if not one[2] or not one[0].startswith(ASKS_A_SIDE)]
    assert {name for module, name, _ in named if module == REMEMBER[0]} == {REMEMBER[1]}


def test_only_roles_are_loaded_by_a_text() -> None:
    """``"cdc_reader.reader:run"`` names a process's entry point; all else is a real import."""
    found = {
        (module, node.value)
        for module in MODULES
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(rf"({'|'.join(SIDES)}|{WITNESS})(\.\w+)+|\w+(\.\w+)+:\w+", node.value)
    }
    loading = {i for i in MODULES if {"importlib", "runpy"} & {one.name for one in _imports(i)}}

    assert found == {("cdc.process.role", text) for text in ENTRY_POINTS}
    assert loading == LOADERS


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


def _room(module: str) -> str:
    """Return the folder that a module is in: ``cdc.check``, or ``cdc`` for the ground floor."""
    return module if _path(module).name == "__init__.py" else module.rpartition(".")[0]


def _rooms() -> dict[str, set[str]]:
    """Return which rooms each room imports; not where `cdc` asks a side inside a function."""
    rooms: dict[str, set[str]] = {}
    for module in MODULES:
        needed = {
            _room(i.name)
            for i in _imports(module)
            if i.name in MODULES and not (i.inside_function and _asks_a_side(module, i.name))
        }
        rooms.setdefault(_room(module), set()).update(needed - {_room(module)})
    return rooms


def _asks_a_side(module: str, name: str) -> bool:
    return _package(module) == "cdc" != _package(name)


@pytest.mark.parametrize("room", sorted({_room(module) for module in MODULES}))
def test_a_room_is_small_enough_to_see_at_once(room: str) -> None:
    """At most 14 modules side by side; 22 on the ground floor of a package."""
    inside = [m for m in MODULES if _room(m) == room and m != room and not m.endswith("__main__")]

    assert len(inside) <= (22 if room in PACKAGES else 14)


def test_the_contract_imports_no_room() -> None:
    """What both sides agree on needs nothing else; only the entry points load commands."""
    ground = [m for m in MODULES if _room(m) == "cdc" and m not in ENTRIES]

    assert [] == [
        (module, i.name)
        for module in ground
        for i in _imports(module)
        if i.name in MODULES and _room(i.name) != "cdc"
    ]


def test_rooms_do_not_import_in_circles() -> None:
    """A room never needs itself through others: the data walks one way."""
    rooms = _rooms()
    # The contract imports no room; its entry points alone do.
    waiting = {room: needed - {room, "cdc"} for room, needed in rooms.items()}
    for loop in ("cdc", *ABOVE_ROOMS):
        del waiting[loop]
    while done := [room for room, needed in waiting.items() if not needed & set(waiting)]:
        for room in done:
            del waiting[room]

    assert {} == waiting


@pytest.mark.parametrize(
    ("room", "never"),
    [("cdc_reader.rows", "cdc_reader.publish"), ("redis_sink.plan", "redis_sink.store")],
)
def test_a_decision_does_not_know_what_carries_it_out(room: str, never: str) -> None:
    """Rows do not know how they are published, a plan not how it is written."""
    assert [] == [
        (module, name)
        for module in MODULES
        if _room(module) == room
        for name in _needed(module)
        if _room(name) == never
    ]


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
