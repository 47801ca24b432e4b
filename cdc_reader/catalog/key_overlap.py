"""Check whether two key templates could make the same key.

Pure.  A template is literal text and columns; which characters a column's text can have is
known for numbers, dates and hashes, and a separator that is escaped inside values is none of
them.  So ``orders:{id}`` and ``orders:of:{user_id}`` are told apart where `id` is a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cdc.key import KeyTemplate


@dataclass(frozen=True, slots=True)
class _Atom:
    """One literal character, or any number of those that a column may have."""

    characters: frozenset[str] | None
    """None: any but `never`."""
    never: frozenset[str] = frozenset()
    repeats: bool = False

    def meets(self, other: _Atom) -> bool:
        """Return whether both have a character in common."""
        if self.characters is not None and other.characters is not None:
            return bool(self.characters & other.characters)
        for one, two in ((self, other), (other, self)):
            if one.characters is not None:
                return bool(one.characters - two.never)
        return True


def pairs_to_compare(templates: Sequence[KeyTemplate]) -> Iterator[tuple[int, int]]:
    """Yield the places of all pairs whose literal ends do not tell them apart already.

    Most templates differ in how they begin, so of 5,000 tables no pair is left; the number of
    pairs is never looked at one by one.

    >>> from cdc.key import parse_template
    >>> keys = ("a:{pk}", "b:{pk}", "a:{pk}:x")
    >>> made = [parse_template(k, schema="s", table="t", pk=("id",)) for k in keys]
    >>> list(pairs_to_compare(made))
    [(0, 2)]
    """
    begins = [_literal_begin(template.parts) for template in templates]
    ends = [_literal_begin([p[::-1] if isinstance(p, str) else p for p in t.parts[::-1]])
            for t in templates]  # fmt: skip
    by, other = (begins, ends) if _pairs(begins) <= _pairs(ends) else (ends, begins)
    for one, two in _nested(by):
        if other[one].startswith(other[two]) or other[two].startswith(other[one]):
            yield min(one, two), max(one, two)


def _literal_begin(parts: Sequence[object]) -> str:
    """Return the text that a key begins with, up to its first column."""
    begin = ""
    for part in parts:
        if not isinstance(part, str):
            return begin
        begin += part
    return begin


def _pairs(begins: Sequence[str]) -> int:
    return sum(len(within) for _, within in _stacks(begins))


def _nested(begins: Sequence[str]) -> Iterator[tuple[int, int]]:
    for place, within in _stacks(begins):
        for other in within:
            yield place, other


def _stacks(begins: Sequence[str]) -> Iterator[tuple[int, list[int]]]:
    """Yield each place with those before it whose text its own begins with."""
    within: list[int] = []
    for place in sorted(range(len(begins)), key=lambda n: begins[n]):
        while within and not begins[place].startswith(begins[within[-1]]):
            within.pop()
        yield place, within
        within.append(place)


def could_be_equal(
    one: KeyTemplate,
    one_alphabets: Mapping[str, str],
    other: KeyTemplate,
    other_alphabets: Mapping[str, str],
) -> bool:
    """Return whether a row each could have the same key.

    Args:
        one_alphabets: the characters that a column's text can have, by column: ``{"id":
            "-0123456789"}``; a column that is not in it may have any.  Its text is then not empty.
    """
    a, b = _atoms(one, one_alphabets), _atoms(other, other_alphabets)
    seen = {(0, 0)}
    waiting = [(0, 0)]
    while waiting:
        i, j = waiting.pop()
        if i == len(a) and j == len(b):
            return True
        following = []
        if i < len(a) and a[i].repeats:
            following.append((i + 1, j))
        if j < len(b) and b[j].repeats:
            following.append((i, j + 1))
        if i < len(a) and j < len(b) and a[i].meets(b[j]):
            following += [
                (i + (not a[i].repeats), j + (not b[j].repeats)),
            ]
        for place in following:
            if place not in seen:
                seen.add(place)
                waiting.append(place)
    return False


def _atoms(template: KeyTemplate, alphabets: Mapping[str, str]) -> list[_Atom]:
    out: list[_Atom] = []
    for part in template.parts:
        if isinstance(part, str):
            out += [_Atom(frozenset(character)) for character in part]
            continue
        alphabet = alphabets.get(part.name)
        escaped = frozenset(old for old, _ in part.escapes) - {"%"}
        if alphabet is None:
            out.append(_Atom(None, escaped, repeats=True))
            continue
        # An escaped character appears as %3A.
        hexes = "%0123456789ABCDEF" if escaped & set(alphabet) else ""
        characters = frozenset(alphabet) - escaped | frozenset(hexes)
        out += [_Atom(characters), _Atom(characters, repeats=True)]
    return out
