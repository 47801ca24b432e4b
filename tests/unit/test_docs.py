"""What stands in the documents against what stands in the code."""

from __future__ import annotations

import ast
import configparser
import contextlib
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import click
import msgspec
import pytest

from cdc import message
from cdc.check.reasons import REASONS
from cdc.cli import cli
from cdc.errors import EXIT_CODES, REFRESH, SettingsError
from cdc.settings import SPECS, load
from cdc.table_settings import TABLE_HELP

ROOT = Path(__file__).parents[2]
PACKAGES = ("cdc", "cdc_reader", "redis_sink", "cdc_verify")
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ADRS = sorted((ROOT / "docs/adr").glob("*.md"))
GOLDEN = sorted((ROOT / "tests/golden/messages").glob("*.json"))
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))

ADR_SECTIONS = ["Context", "Decision", "Consequences", "Sources"]


class Block(NamedTuple):
    """A fenced block of a document."""

    language: str
    text: str


def _text(name: str | Path) -> str:
    return (ROOT / name).read_text("utf-8")


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _blocks(path: Path) -> list[Block]:
    """Return the fenced blocks, those inside a list too."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", _text(path), re.MULTILINE | re.DOTALL)
    return [Block(language, text) for _, language, text in found]


def _prose(path: Path) -> str:
    return re.sub(r"^( *)```.*?^\1```$", "", _text(path), flags=re.MULTILINE | re.DOTALL)


def _anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", _prose(path), re.MULTILINE)
    slugs = (re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles)
    return set(slugs)


# -- the message ------------------------------------------------------------------------


def _json_lines() -> Iterator[tuple[str, str]]:
    for path in DOCS:
        for block in _blocks(path):
            for line in block.text.splitlines():
                if line.startswith('{"'):
                    yield _id(path), line


@pytest.mark.parametrize(("path", "line"), list(_json_lines()))
def test_every_example_of_a_message_decodes(path: str, line: str) -> None:
    """A line that begins like a message is one of ours, or a bare one."""
    decode = {
        message.HEARTBEAT: message.decode_heartbeat,
        message.SCHEMA: message.decode_schema,
        message.SNAPSHOT: message.decode_snapshot,
        message.REFRESH: message.decode_refresh,
        message.TABLES: message.decode_tables,
        message.PART: message.decode_part,
        None: message.decode_bare,
    }.get(json.loads(line).get("op"), message.decode_change)

    decode(line)


@pytest.mark.parametrize("path", GOLDEN, ids=_id)
def test_every_golden_message_is_an_example(path: Path) -> None:
    """docs/message.md shows the golden files, byte for byte, and names them."""
    document = ROOT / "docs/message.md"

    assert path.read_text("utf-8").strip() in {b.text.strip() for b in _blocks(document)}
    assert f"`{path.name}`" in _text(document)


def test_every_field_of_a_message_is_explained() -> None:
    """docs/message.md has each field of the contract in code marks."""
    kinds: tuple[type[msgspec.Struct], ...] = (
        message.Change,
        message.TooLarge,
        message.Snapshot,
        message.RowPart,
        message.Schema,
        message.Heartbeat,
        message.Refresh,
        message.Tables,
        message.ListedAt,
        message.Member,
    )
    fields = {name for kind in kinds for name in kind.__struct_fields__}

    explained = set(re.findall(r"`(\w+)`", _text("docs/message.md")))

    assert fields <= explained | {"statement", "epoch"}


class _Recorder:
    """What the example for consumers needs of a Redis client."""

    def __init__(self) -> None:
        self.keys = {"users:42": "old"}

    def set(self, key: str, value: str) -> None:
        self.keys[key] = value

    def delete(self, key: str) -> None:
        self.keys.pop(key, None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("update", {"users:42": '{"id":42,"name":"Ada","balance":"17.50"}'}),
        ("update_key_changed", {"users:43": '{"id":43}'}),
        ("delete", {}),
        ("update_too_large", {}),
        ("part", {"users:42": "old"}),
        ("heartbeat", {"users:42": "old"}),
        ("schema", {"users:42": "old"}),
    ],
)
def test_the_example_for_consumers_works(name: str, expected: dict[str, str]) -> None:
    """The Python of docs/message.md does to Redis what the golden message says."""
    apply = _defined_in_the_contract("apply")
    redis = _Recorder()

    apply(redis, (ROOT / f"tests/golden/messages/{name}.json").read_bytes())

    assert expected == redis.keys


def _defined_in_the_contract(name: str) -> Callable[..., Any]:
    """Return a function of the Python in docs/message.md."""
    blocks = (b.text for b in _blocks(ROOT / "docs/message.md") if b.language == "python")
    (example,) = (text for text in blocks if f"def {name}(" in text)
    namespace: dict[str, Any] = {}
    exec(compile(example, "docs/message.md", "exec"), namespace)
    found: Callable[..., Any] = namespace[name]
    return found


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_example_for_who_wrote_a_message_works(path: Path) -> None:
    """The Python of docs/message.md knows the golden messages for ours, and nothing else."""
    is_ours, key = _defined_in_the_contract("is_ours"), bytes(range(32))
    body = path.read_bytes().rstrip(b"\n")

    assert is_ours(body, key)
    assert not is_ours(body.replace(b'"op"', b'"OP"'), key)
    assert not is_ours(body, bytes(32))
    assert not is_ours(b'{"key":"user:123","value":"John Doe"}', key)


# -- commands and settings ----------------------------------------------------------------


def _commands() -> Iterator[tuple[str, str]]:
    """Find command lines: in blocks, and in code marks of the prose."""
    for path in DOCS:
        lines = [line for block in _blocks(path) for line in block.text.splitlines()]
        lines += re.findall(r"`([^`\n]+)`", _prose(path))
        for line in lines:
            found = re.match(r"\s*(?:\$ )?(?:\.venv/bin/)?cdc (.*)", line)
            if found and re.match(r"[a-z-]", found[1]):
                yield _id(path), found[1].partition(" #")[0]


@pytest.mark.parametrize(("path", "line"), sorted(set(_commands())))
def test_every_command_line_parses(path: str, line: str) -> None:
    """Commands and flags in the documents exist."""
    name, *arguments = shlex.split(line)
    command = cli.get_command(click.Context(cli), name)
    if isinstance(command, click.Group) and arguments:
        name, *arguments = arguments
        command = command.get_command(click.Context(command), name)

    assert command is not None, f"{path}: no command {name}"
    with contextlib.suppress(click.exceptions.Exit):  # of --help
        command.make_context(name, arguments)


def _all_commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield command
        if isinstance(command, click.Group):
            yield from _all_commands(command)


@pytest.mark.parametrize("path", DOCS, ids=_id)
def test_every_flag_in_the_prose_exists(path: Path) -> None:
    """A flag alone in code marks is one of a command of ours."""
    known = {flag for command in _all_commands(cli) for p in command.params for flag in p.opts}
    named = set(re.findall(r"`(--[a-z-]+)(?: [^`]*)?`", _prose(path)))

    assert set() == named - known


@pytest.mark.parametrize("path", DOCS, ids=_id)
def test_every_variable_exists(path: Path) -> None:
    """Variables that begin with CDC_ are known to the settings."""
    named = set(re.findall(r"\bCDC_[A-Z][A-Z_]*[A-Z]\b", _text(path)))

    assert [] == [name for name in sorted(named) if not _is_variable(name)]


def _is_variable(name: str) -> bool:
    try:
        load({}, {name: "/dev/null"})
    except SettingsError as error:
        return "is not a known variable" not in error.seen
    return True


@pytest.mark.parametrize("path", DOCS, ids=_id)
def test_every_settings_file_loads(path: Path, tmp_path: Path) -> None:
    """A block of TOML is a cdc.toml without a mistake."""
    for block in _blocks(path):
        if block.language == "toml":
            file = tmp_path / "cdc.toml"
            file.write_text(block.text)
            load({}, {}, file)


@pytest.mark.parametrize("path", DOCS, ids=_id)
def test_every_setting_named_as_one_exists(path: Path) -> None:
    """``the setting `x` ``, ```x` = … in the way of cdc.toml: x is a setting."""
    prose = _prose(path)
    named = set(re.findall(r"settings? `(\w+)`", prose))
    # A value in double quotes is TOML; MySQL's variables are written without them.
    named |= set(re.findall(r'`(\w+) = "[^`]*"`', prose))

    assert set() == named - {*SPECS, *TABLE_HELP, "tables", "exclude_tables"}


def _make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+(?: [a-z]+)*):", _text("Makefile"), re.MULTILINE))


@pytest.mark.parametrize("path", DOCS, ids=_id)
def test_every_make_target_exists(path: Path) -> None:
    """``make x`` in code is a target of the Makefile."""
    targets = {name for line in _make_targets() for name in line.split()}
    code = re.findall(r"`([^`\n]+)`", _prose(path)) + [b.text for b in _blocks(path)]

    assert set() == {t for text in code for t in re.findall(r"\bmake ([a-z]+)", text)} - targets


# -- links and names -----------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCS, ids=_id)
def test_every_internal_link_resolves(path: Path) -> None:
    """File and heading are there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(path)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{_id(path)}: {target}"
        if anchor:
            assert anchor in _anchors(there), f"{_id(path)}: {target}"


def _documents_named(path: Path) -> set[str]:
    return set(re.findall(r"docs/[\w/.-]+\.md", path.read_text("utf-8")))


def test_every_document_that_the_code_names_is_there() -> None:
    """An error or a docstring sends nobody to a page that does not exist."""
    named = {(name, _id(path)) for path in SOURCES for name in _documents_named(path)}

    assert [] == sorted((n, p) for n, p in named if not (ROOT / n).exists())


def _modules() -> set[str]:
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in SOURCES)
    return {name.removesuffix(".__init__") for name in names}


def test_every_room_is_in_the_architecture() -> None:
    """docs/architecture.md names each folder of modules, and none that is not there."""
    named = set(re.findall(r"^\| `((?:\w+/)+)` \|", _architecture(), re.MULTILINE))

    assert {f"{path.parent.relative_to(ROOT)}/" for path in SOURCES} == named


def _architecture() -> str:
    return _text("docs/architecture.md")


@pytest.mark.parametrize("path", DOCS, ids=_id)
def test_every_module_named_in_a_document_is_there(path: Path) -> None:
    """``cdc_reader.resume.stream_end`` and ``cdc_reader/resume/stream_end.py`` are modules."""
    text = _prose(path)
    dotted = set(re.findall(r"`((?:cdc_reader|redis_sink|cdc_verify|cdc)\.[a-z_.]+)`", text))
    files = set(re.findall(r"`((?:cdc_reader|redis_sink|cdc_verify|cdc)/[a-z_/]+\.py)`", text))

    compiled = {f"{package}._native" for package in PACKAGES}
    known = _modules() | compiled | {"cdc.toml"}

    assert set() == {n for n in dotted if not n.startswith("cdc.dead")} - known
    assert [] == [name for name in files if not (ROOT / name).exists()]


def test_the_loops_steps_are_those_of_the_architecture() -> None:
    """The numbered steps of both loops stand in the document word by word."""
    document = " ".join(_architecture().split())
    for path in ("cdc_reader/reader.py", "redis_sink/sink.py"):
        steps = re.findall(r"# (\d\. .*)$", _text(path), re.MULTILINE)

        assert ["1", "2", "3", "4", "5"] == [step[0] for step in steps]
        for step in steps:
            assert step.rstrip(".") in document, f"{path}: {step}"


# -- errors --------------------------------------------------------------------------------


def test_the_exit_codes_are_those_of_the_code() -> None:
    """The table of docs/guarantees.md has each class with its code, and no other."""
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", _text("docs/guarantees.md"), re.MULTILINE)

    assert {code: kind.__name__ for code, kind in EXIT_CODES.items()} == {
        int(code): name for code, name in rows
    }


@pytest.mark.parametrize("code", sorted(EXIT_CODES))
def test_every_error_has_its_part_in_the_operations(code: int) -> None:
    """docs/operations.md is keyed by error: ``### StreamError (73)``."""
    assert f"\n### {EXIT_CODES[code].__name__} ({code})\n" in _text("docs/operations.md")


def test_every_finding_is_in_the_page_of_the_check() -> None:
    """docs/check.md has each id with its reason, and no other; each is made somewhere."""
    rows = re.findall(
        r"^\| `([a-z]+\.[a-z-]+)` \| [^|]+ \| ([^|]+) \|", _text("docs/check.md"), re.MULTILINE
    )
    texts = " ".join(path.read_text("utf-8") for path in SOURCES if path.name != "reasons.py")

    assert dict(rows) == REASONS
    assert len(rows) == len(REASONS)
    assert [] == [name for name in REASONS if f'"{name}"' not in texts and name not in _BY_VARIABLE]


def test_every_finding_is_provoked_on_a_real_server() -> None:
    """Each id stands in a test of the check, but for what the servers here cannot show."""
    tests = [*ROOT.glob("tests/*/test_check*.py"), ROOT / "tests/fault/test_statements.py"]
    provoked = set(re.findall(r"(?:mysql|nats|redis)\.[a-z-]+", " ".join(map(_text, tests))))
    # Made from the name of the variable there as well.
    provoked |= _BY_VARIABLE | {"mysql.server-id", "mysql.binlog-retention"}
    shown_by_values_alone = {"mysql.version", "nats.version", "redis.version", "mysql.unexpected"}

    assert set(REASONS) - provoked == shown_by_values_alone


_BY_VARIABLE = {
    f"mysql.binlog-{name}" for name in ("format", "row-image", "row-metadata", "row-value-options")
}
"""Made from the name of a variable."""


def test_the_command_that_errors_name_is_explained() -> None:
    """What heals a gap is a command of ours, and the guarantees have a section on it."""
    assert REFRESH.split()[:2] == ["cdc", "refresh"]
    assert "\n## Starting over\n" in _text("docs/guarantees.md")
    assert "\ncdc refresh " in _text("docs/guarantees.md")


def test_what_operations_quotes_is_said_by_the_code() -> None:
    """The first column of the tables of errors and warnings quotes texts of the code."""
    said = _squeezed(" ".join(_strings(path) for path in SOURCES))
    page = _text("docs/operations.md").partition("\n## Errors\n")[2]
    page = page.partition("\n## Least privilege")[0]
    cells = re.findall(r"^\| ([^|]*) \|", page, re.MULTILINE)

    quoted = [q for cell in cells for q in re.findall(r"`([^`]+)`", cell)]
    missing = [q for q in quoted if not all(_squeezed(part) in said for part in q.split("…"))]

    assert quoted
    assert [] == missing


def _strings(path: Path) -> str:
    """Return all texts of a module in order; what is filled in is left out."""
    nodes = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Constant)]
    nodes.sort(key=lambda node: (node.lineno, node.col_offset))
    return " ".join(node.value for node in nodes if isinstance(node.value, str))


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text).lower()


# -- the README ----------------------------------------------------------------------------

README_WORDS = 700


def test_the_readme_is_short() -> None:
    """Words of its prose, as ``wc -w`` counts them; code blocks and links' addresses left out."""
    words = re.sub(r"\]\([^)]*\)", "]", _prose(ROOT / "README.md")).split()

    assert len(words) < README_WORDS


def test_every_picture_is_drawn_for_light_and_dark() -> None:
    """An SVG is well-formed, has a title, and colours of its own for a dark page."""
    pictures = sorted((ROOT / "docs").rglob("*.svg"))

    assert pictures
    for path in pictures:
        names = {element.tag.rpartition("}")[2] for element in ET.parse(path).iter()}
        assert {"title", "style"} <= names, path
        assert "prefers-color-scheme: dark" in _text(path), path
        assert f'src="{_id(path)}"' in _text("README.md"), path


# -- words ---------------------------------------------------------------------------------

RETIRED = (
    "backfill",
    "lanes?",
    "mend(?:s|ed|ing)?",
    "rehears(?:al|als|ed)",
    "quarantined",
)
"""Words that docs/glossary.md has another word for."""

RETIRED_IN_DOCUMENTS = (*RETIRED, "anew")
"""The help and the log still have these."""


def _retired(text: str, words: tuple[str, ...] = RETIRED) -> list[str]:
    """Return the retired words of a text; names in code marks and addresses of links are free."""
    prose = re.sub(r"`[^`]*`|\]\([^)]*\)", "", text)
    return re.findall(rf"\b(?:{'|'.join(words)})\b", prose, re.IGNORECASE)


@pytest.mark.parametrize("path", DOCS, ids=_id)
def test_no_retired_word_is_in_a_document(path: Path) -> None:
    """One word for one thing; the last column of the glossary names the others."""
    prose = _prose(path)
    if path.name == "glossary.md":
        prose = re.sub(r"[^|\n]*\|$", "", prose, flags=re.MULTILINE)

    assert [] == _retired(prose, RETIRED_IN_DOCUMENTS)


def test_no_retired_word_is_in_the_help() -> None:
    """What ``--help`` prints, of each command."""
    texts = {c.name: c.get_help(click.Context(c)) for c in [cli, *_all_commands(cli)]}

    assert {} == {name: _retired(text) for name, text in texts.items() if _retired(text)}


def test_each_retired_word_is_in_the_glossary() -> None:
    """Who finds a word of old finds its successor."""
    words = re.findall(r"\| ([^|\n]*) \|$", _text("docs/glossary.md"), re.MULTILINE)

    for retired in RETIRED_IN_DOCUMENTS:
        assert any(re.search(rf"\b(?:{retired})\b", word) for word in words), retired


# -- decisions -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ADRS, ids=_id)
def test_a_decision_has_its_sections(path: Path) -> None:
    """Context, decision, consequences, sources; numbered as its file."""
    text = _text(path)

    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ADR_SECTIONS
    assert text.startswith(f"# {int(path.name[:4])}. ")


def test_decisions_are_numbered_and_linked() -> None:
    """No number is given twice, and each decision is linked from the architecture."""
    numbers = [path.name[:4] for path in ADRS]
    assert len(set(numbers)) == len(numbers)
    assert [] == [path.name for path in ADRS if f"(adr/{path.name})" not in _architecture()]


def test_every_dependency_has_a_reason() -> None:
    """The table of the decision on dependencies has what setup.cfg installs, and no more."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    lines = parser["options"]["install_requires"].splitlines()
    wanted = {re.split(r"[\[=<>]", line)[0] for line in lines if line and line[0] != "#"}
    decision = _text("docs/adr/0005-dependencies.md").partition("| library | reason |")[2]

    assert wanted == set(
        re.findall(r"^\| ([\w-]+) \|", decision.partition("\n\n")[0], re.MULTILINE)
    )


def test_no_document_shows_a_traceback() -> None:
    """An error ends as three lines, in the documents too."""
    assert [] == [_id(path) for path in DOCS if "Traceback" in _text(path)]
