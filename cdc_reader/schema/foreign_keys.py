"""Which captured tables a change of a parent's rows reaches through foreign keys.

Pure.  InnoDB changes children inside the engine and in no binlog, on MariaDB and on MySQL before
9.6 or with ``innodb_native_foreign_keys``.  Only the parent's row event is there.  What is found is
too much rather than too little (docs/adr/0034-cascades.md).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cdc.table import Column
from cdc_reader.binlog.statement import DEFINE, UNSURE, Name, Statement
from cdc_reader.messages.unread import Unread
from cdc_reader.rows.parent_rows import Parent
from cdc_reader.schema.change import End, SchemaChanged
from cdc_reader.schema.reach import Place

ACTIONS = frozenset(("CASCADE", "SET NULL", "SET DEFAULT"))
"""Those that change children; the others refuse the parent's change."""
_OF_FOREIGN_KEYS = frozenset(("foreign", "constraint", "references", "rename"))
"""Words of statements that add or drop them."""
WHY_READ = "a foreign key changed rows inside InnoDB, which is in no binlog"

_NAME = r"(?:`(?:[^`]|``)+`|\"(?:[^\"]|\"\")+\")"
_ACTION = r"(CASCADE|SET NULL|SET DEFAULT|RESTRICT|NO ACTION)"
_CONSTRAINT = re.compile(
    rf"^\s*CONSTRAINT ({_NAME}) FOREIGN KEY .*\)"
    rf"(?: ON DELETE {_ACTION})?(?: ON UPDATE {_ACTION})?,?$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """One constraint; all but its own name in lower case, as servers compare them.

    ``ForeignKey(name="fk", child=("shop", "lines"), parent=("shop", "orders"),
    columns=("order_id",), referenced=("id",), on_delete="CASCADE", on_update="NO ACTION")``
    """

    name: str
    child: Name
    parent: Name
    columns: tuple[str, ...]
    """Of the child."""
    referenced: tuple[str, ...]
    """The parent's, in the same order."""
    on_delete: str | None
    """None: this login may not see it."""
    on_update: str | None
    spelled: Name = ("", "")
    """The parent's name, as it is written."""

    @property
    def acts(self) -> bool:
        """Whether it changes children, as far as is known."""
        return _acts(self.on_delete) or _acts(self.on_update)

    @property
    def actions(self) -> str:
        """``ON DELETE CASCADE, ON UPDATE SET NULL``; those that act."""
        both = (("DELETE", self.on_delete), ("UPDATE", self.on_update))
        return ", ".join(f"ON {what} {action or '?'}" for what, action in both if _acts(action))


def _acts(action: str | None) -> bool:
    return action is None or action in ACTIONS


def rules_in(definition: str) -> dict[str, tuple[str, str]]:
    """Return what each foreign key in a SHOW CREATE TABLE does on delete and on update.

    >>> rules_in("  CONSTRAINT `fk` FOREIGN KEY (`a`) REFERENCES `p` (`id`) ON DELETE CASCADE,")
    {'fk': ('CASCADE', 'RESTRICT')}
    """
    out = {}
    for quoted, on_delete, on_update in _CONSTRAINT.findall(definition):
        mark = quoted[0]
        name = quoted[1:-1].replace(mark * 2, mark)
        out[name] = (on_delete or "RESTRICT", on_update or "RESTRICT")
    return out


@dataclass(frozen=True, slots=True)
class ForeignKeys:
    """The foreign keys that lead to captured tables, as the catalog shows them."""

    keys: tuple[ForeignKey, ...] = ()
    columns: Mapping[Name, Sequence[Column]] = field(default_factory=dict)
    """Of parents, as far as this login sees them."""
    hidden: Mapping[Name, Name] = field(default_factory=dict)
    """Parents of which this login may not see whose children they are; how each is spelled."""

    _of_parent: dict[Name, list[ForeignKey]] = field(init=False, default_factory=dict)
    _of_child: dict[Name, list[ForeignKey]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for key in self.keys:
            self._of_parent.setdefault(key.parent, []).append(key)
            self._of_child.setdefault(key.child, []).append(key)

    @property
    def names(self) -> frozenset[Name]:
        """All tables that they lead from or to."""
        return frozenset((*self._of_parent, *self._of_child))

    def to(self, table: str) -> list[ForeignKey]:
        """Return those of one table that change its rows."""
        return self._acting(name_of(table))

    def _acting(self, child: Name) -> list[ForeignKey]:
        return [key for key in self._of_child.get(child, ()) if key.acts]

    def above(self, table: str) -> set[Name]:
        """Return the tables from which a change may reach one."""
        todo, seen = [key.parent for key in self.to(table)], set[Name]()
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo += [key.parent for key in self._acting(name)]
        return seen

    def parents(self, captured: Iterable[str]) -> dict[Name, Parent]:
        """Return the tables whose changes reach captured ones.

        Args:
            captured: ``["shop.lines"]``
        """
        by_name = {name_of(table): table for table in captured}
        out = {}
        for name, keys in self._of_parent.items():
            described = self.columns.get(name)
            parent = Parent(
                on_delete=_of(self._reached(name, None), by_name),
                on_update={
                    columns: reached
                    for columns in {frozenset(key.referenced) for key in keys}
                    if (reached := _of(self._reached(name, columns), by_name))
                },
                columns=tuple(c.name.lower() for c in described) if described else None,
                generated=frozenset(c.name.lower() for c in described or () if c.is_generated),
            )
            if parent.reached:
                out[name] = parent
        return out

    def _reached(self, table: Name, columns: frozenset[str] | None) -> set[Name]:
        """Return the children that change with a row's delete, or with a change of its columns."""
        todo, seen = [(table, columns)], {(table, columns)}
        found: set[Name] = set()
        while todo:
            name, changed = todo.pop()
            for key in self._of_parent.get(name, ()):
                if changed is not None and not changed & {*key.referenced}:
                    continue
                action = key.on_delete if changed is None else key.on_update
                if not _acts(action):
                    continue
                found.add(key.child)
                effects: list[frozenset[str] | None] = []
                if changed is None and action in (None, "CASCADE"):
                    effects.append(None)
                if changed is not None or action != "CASCADE":
                    effects.append(frozenset(key.columns) | self._generated(key.child))
                for step in ((key.child, effect) for effect in effects):
                    if step not in seen:
                        seen.add(step)
                        todo.append(step)
        return found

    def _generated(self, name: Name) -> frozenset[str]:
        columns = self.columns.get(name, ())
        return frozenset(column.name.lower() for column in columns if column.is_generated)

    def descendants(self, names: Iterable[Name], captured: Iterable[str]) -> frozenset[str]:
        """Return the captured tables among some and all that these lead to, whatever the actions.

        >>> key = ForeignKey(name="fk", child=("shop", "b"), parent=("shop", "a"), columns=("a",),
        ...                  referenced=("id",), on_delete="RESTRICT", on_update="RESTRICT")
        >>> sorted(ForeignKeys((key,)).descendants([("shop", "a")], ["shop.b", "shop.c"]))
        ['shop.b']
        """
        todo, seen = list(names), set(names)
        while todo:
            name = todo.pop()
            for child in {key.child for key in self._of_parent.get(name, ())} - seen:
                seen.add(child)
                todo.append(child)
        return _of(seen, {name_of(table): table for table in captured})


def name_of(table: str) -> Name:
    """Return ``("shop", "lines")`` of ``Shop.lines``."""
    schema, _, name = table.lower().partition(".")
    return schema, name


def _of(names: Iterable[Name], captured: Mapping[Name, str]) -> frozenset[str]:
    return frozenset(captured[name] for name in names if name in captured)


class ForeignKeysChanged(SchemaChanged):
    """A statement may change foreign keys: they are looked up again before the reader continues."""

    def __init__(self, names: Collection[Name], where: str, *, kind: str, end: End) -> None:
        """Set which.

        Args:
            names: tables of the statement that may be parents or children; empty: may be any.
            where: ``binlog.000012:4711, GTID 7271…:8004``
            kind: ``ALTER TABLE``
            end: its own.
        """
        super().__init__((), where, kind=kind, end=end)
        self.names = tuple(names)


@dataclass(slots=True)
class Cascades:
    """What is known of foreign keys, over all connections of a reader."""

    known: ForeignKeys | None = None
    """None: they are to be looked up."""
    until: Place = (0, 0)
    """Where the binlog ended after that: statements before it are in what is known."""
    passed: set[End] = field(default_factory=set)
    """Statements that were looked at."""
    unread: set[str] = field(default_factory=set)
    """Captured tables of which cascades may have been missed: they are to be read again."""
    met: set[str] = field(default_factory=set)
    """Captured tables that a cascade reached, for logs."""
    _server: str = ""

    def begin(self, server: str) -> None:
        """Continue on a server: places of another one mean nothing there."""
        if server != self._server:
            self._server, self.known = server, None
            self.passed.clear()

    def parents(self, captured: Iterable[str]) -> dict[Name, Parent]:
        """Return the tables whose changes reach captured ones: see `ForeignKeys.parents`."""
        return self.known.parents(captured) if self.known is not None else {}

    def prepare(self, unread: Unread, captured: Collection[str]) -> None:
        """Have the stream tell of which tables rows may change that are in no message.

        What it tells before a failover has these tables read again after it.
        """
        for parent in self.parents(captured).values():
            for table in parent.reached:
                if not unread.is_known(table):
                    unread.begin(table)
        self.note(self.unread & {*captured}, unread)

    def note(self, reached: Collection[str], unread: Unread) -> None:
        """Have captured tables read again that a cascade reached."""
        for table in reached:
            self.met.add(table)
            unread.lose(table)

    def look_at(
        self, readings: Sequence[Statement], captured: Iterable[str], end: End, where: str
    ) -> None:
        """Pass a statement that leaves foreign keys as they are.

        Args:
            readings: it, in each way that it may be read.
            captured: ``["shop.lines"]``
            where: ``binlog.000012:4711, GTID 7271…:8004``

        Raises:
            ForeignKeysChanged: it may not, and was not looked at.
        """
        if self.known is None or end in self.passed:
            return
        found = [one for one in readings if one.kind.startswith(DEFINE) and not one.temporary]
        names = {name for one in found for name in one.names}
        kind = readings[0].kind
        if any(UNSURE in part for name in names for part in name):
            raise ForeignKeysChanged((), where, kind=kind, end=end)
        if concerned := self._concerned(found, names, {name_of(table) for table in captured}):
            raise ForeignKeysChanged(concerned, where, kind=kind, end=end)

    def _concerned(
        self, readings: Sequence[Statement], names: set[Name], captured: set[Name]
    ) -> set[Name]:
        known = self.known.names if self.known is not None else frozenset()
        kinds = {one.kind.rpartition(" ")[2] for one in readings}
        if "SCHEMA" in kinds:
            schemas = {name for _, name in names}
            return {name for name in known if name[0] in schemas}
        if "TABLE" not in kinds:
            return set()
        # Some that were dropped are not known any more; a renamed table brings its own.
        refers = any(name in _OF_FOREIGN_KEYS for _, name in names)
        return names & (known | captured if refers else known)

    def looked(
        self,
        change: ForeignKeysChanged,
        known: ForeignKeys,
        until: Place,
        captured: Collection[str],
    ) -> None:
        """Take over what was looked up after a statement.

        What was known may be of a later moment than the statement, so that rows before it were
        looked at with foreign keys of after it: all that the statement's tables lead to is read
        again.

        Args:
            until: where the binlog ended after the look.
            captured: ``["shop.lines"]``
        """
        end = change.end
        if end is not None and (end.file_number, end.offset) <= self.until:
            names = change.names or known.names
            self.unread |= known.descendants(names, captured)
        self.known, self.until = known, until
        if end is not None:
            self.passed.add(end)
