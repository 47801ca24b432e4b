"""Which tables of the catalog are captured: those named, and those that patterns match.

Pure.  A table has the settings of one section: its own, else that of the pattern with the most
characters of its own, which is never a guess: equally many are refused.  What is excluded is
never captured, however it is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cdc.check.finding import Finding, Fix
from cdc.errors import CdcError, UsageError
from cdc.setting import nearest
from cdc.settings import Settings
from cdc.table_pattern import TablePattern, means, most_exact, parse_pattern
from cdc.table_settings import SectionsOfTables, TableSettings
from cdc_reader.catalog.entry import Entry, no_base_table

NAMES_LISTED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """A table of the catalog that the settings name."""

    entry: Entry
    wanted: TableSettings
    """Its settings."""
    pattern: str = ""
    """What matched it; empty: it is named itself."""


@dataclass(slots=True)
class Selection:
    """What the settings name, and what is wrong with the names."""

    tables: list[Selected] = field(default_factory=list)
    """Those named first, in the settings' order; then those matched, in the catalog's."""
    errors: list[tuple[CdcError, str]] = field(default_factory=list)
    """Each with the name that it is about."""
    warnings: list[Finding] = field(default_factory=list)
    """Patterns that match nothing."""


def is_matched(settings: Settings, table: str) -> bool:
    """Return whether patterns are all that names a table: it may come and go.

    Args:
        table: ``shop.users``, which the catalog need not show.
    """
    database = settings.mysql.database
    schema, _, name = table.partition(".")

    def is_meant(text: str) -> bool:
        return means(text, schema, name, database)

    wanted = {one.is_pattern: one for one in settings.tables if is_meant(one.name)}
    return set(wanted) == {True} and not any(map(is_meant, settings.exclude_tables))


class Catalog:
    """All tables that a login may see, by the names that a user may write."""

    def __init__(self, entries: Sequence[Entry], database: str, *, folds: bool) -> None:
        """Take the catalog's tables.

        Args:
            database: the default one; empty: none.
            folds: upper and lower case of names are one (``lower_case_table_names``).
        """
        self.entries, self.database, self.folds = entries, database, folds
        self._exact: dict[str, list[Entry]] = {}
        self._folded: dict[str, list[Entry]] = {}
        self._alone: dict[str, list[Entry]] = {}
        for entry in entries:
            self._alone.setdefault(entry.name, []).append(entry)
            for name in _names(entry, database):
                self._exact.setdefault(name, []).append(entry)
                self._folded.setdefault(name.lower(), []).append(entry)

    def entry(self, wanted: str) -> Entry:
        """Return the table of that name.

        Raises:
            UsageError: there is none, several, or it is no table.
        """
        candidates = self._exact.get(wanted, [])
        if not candidates and self.folds:
            candidates = self._folded.get(wanted.lower(), [])
        if not candidates and not self.database:
            candidates = self._alone.get(wanted, [])
        if len(candidates) > 1:
            listed = ", ".join(sorted(e.qualified for e in candidates)[:NAMES_LISTED])
            raise UsageError(
                f"table {wanted!r} exists in several databases: {listed}",
                fix=f"name one: --table {candidates[0].qualified}",
            )
        if not candidates:
            raise _unknown_table(wanted, self.database, self.entries)
        if (refused := no_base_table(candidates[0])) is not None:
            raise refused
        return candidates[0]

    def is_alone(self, entry: Entry) -> bool:
        """Return whether a table's name alone means it, where no database is the default."""
        return not self.database and len(self._alone[entry.name]) == 1

    def means(self, text: str, entry: Entry) -> bool:
        """Return whether a name or pattern is for a table."""
        return means(
            text,
            entry.schema,
            entry.name,
            self.database,
            folds=self.folds,
            alone=self.is_alone(entry),
        )

    def matched(self, patterns: Sequence[TablePattern]) -> Iterator[tuple[Entry, TablePattern]]:
        """Yield each table that a pattern matches, with the most exact one."""
        for entry in self.entries:
            found = most_exact(patterns, entry.schema, entry.name, folds=self.folds)
            if found:
                yield entry, found[0]


def select(catalog: Catalog, settings: Settings) -> Selection:
    """Return the tables that the settings name and do not exclude.

    Views and the like are in it where a pattern matches them, and an error where they are named.
    """
    made = Selection()
    excluded = _Excluded(catalog, settings.exclude_tables)
    sections = SectionsOfTables(settings.sections, catalog.database, folds=catalog.folds)

    def settled(entry: Entry, wanted: TableSettings) -> TableSettings:
        return sections.of(entry.schema, entry.name, wanted, alone=catalog.is_alone(entry))

    for wanted in settings.tables:
        if wanted.is_pattern:
            continue
        try:
            entry = catalog.entry(wanted.name)
            if not excluded.has(entry):
                made.tables.append(Selected(entry=entry, wanted=settled(entry, wanted)))
        except CdcError as error:
            made.errors.append((error, wanted.name))
    by_text = {one.name: one for one in settings.tables if one.is_pattern}
    patterns = [parse_pattern(text, catalog.database) for text in by_text]
    named = {one.entry.qualified for one in made.tables}
    for entry, pattern in catalog.matched(patterns):
        if entry.qualified in named or excluded.has(entry):
            continue
        try:
            wanted = settled(entry, by_text[pattern.text])
            made.tables.append(Selected(entry=entry, wanted=wanted, pattern=pattern.text))
        except CdcError as error:
            made.errors.append((error, entry.qualified))
    _check_patterns(catalog, patterns, made)
    made.warnings += [_unmatched(text, "excludes", catalog) for text in excluded.unused]
    if not made.tables and not made.errors:
        made.errors.append((_all_excluded(settings), ""))
    return made


class _Excluded:
    """What ``exclude_tables`` leaves out."""

    def __init__(self, catalog: Catalog, texts: Sequence[str]) -> None:
        self._catalog, self._texts = catalog, texts
        self._out: set[str] = set()
        used: set[str] = set()
        for entry in catalog.entries if texts else ():
            meant = {text for text in texts if catalog.means(text, entry)}
            used |= meant
            if meant:
                self._out.add(entry.qualified)
        self.unused = [text for text in texts if text not in used]
        """Those that exclude nothing: they may be mistyped."""

    def has(self, entry: Entry) -> bool:
        """Return whether a table is excluded."""
        return entry.qualified in self._out


def _check_patterns(
    catalog: Catalog, patterns: Sequence[TablePattern], selection: Selection
) -> None:
    """Warn of patterns that match nothing; where nothing matches at all, that is an error."""
    unmatched = [
        one
        for one in patterns
        if not any(one.matches(e.schema, e.name, folds=catalog.folds) for e in catalog.entries)
    ]
    findings = [_unmatched(one.text, "matches", catalog) for one in unmatched]
    if selection.tables or len(unmatched) < len(patterns):
        selection.warnings += findings
        return
    for finding, pattern in zip(findings, unmatched, strict=True):
        selection.errors.append((UsageError(finding.seen, fix=finding.fix.text()), pattern.text))


def _unmatched(text: str, verb: str, catalog: Catalog) -> Finding:
    known = [e.qualified if "." in text else e.name for e in catalog.entries]
    listed = ", ".join(sorted(known)[:NAMES_LISTED])
    return Finding(
        id="mysql.pattern",
        seen=f"{text!r} {verb} no table that this login may see{nearest(text, known)}",
        fix=Fix(
            advice=(f"it shows {listed}" if listed else "it shows no tables at all")
            + "\na table is seen once the login has a right on it: GRANT SELECT ON …"
        ),
        stops=False,
    )


def _all_excluded(settings: Settings) -> UsageError:
    return UsageError(
        "every table that is named is excluded",
        fix="remove one of exclude_tables: " + ", ".join(settings.exclude_tables),
    )


def _names(entry: Entry, database: str) -> tuple[str, ...]:
    """How a user may write a table: with its database, or without inside the default one."""
    return (entry.qualified, entry.name) if entry.schema == database else (entry.qualified,)


def _unknown_table(wanted: str, database: str, entries: Sequence[Entry]) -> UsageError:
    if "." in wanted or not database:
        known = [e.qualified for e in entries] if "." in wanted else [e.name for e in entries]
        where = "MySQL"
    else:
        known = [e.name for e in entries if e.schema == database]
        where = f"database {database!r}"
    if "%" in wanted:
        return UsageError(
            f"{where} has no table {wanted!r}",
            fix=f"a pattern has * and ? in place of %: --table '{wanted.replace('%', '*')}'",
        )
    hint = nearest(wanted, known)
    elsewhere = [e.qualified for e in entries if e.name.lower() == wanted.lower()]
    listed = ", ".join(sorted(elsewhere or known)[:NAMES_LISTED])
    return UsageError(
        f"{where} has no table {wanted!r} that this login may see{hint}",
        fix=(f"it shows {listed}" if listed else "it shows no tables at all")
        + "\na table is seen once the login has a right on it: GRANT SELECT ON …",
    )
