"""Whether two key templates could make the same key.

Pure.  A template is literal text and columns; which characters a column's text can have is
known for numbers, dates and hashes, and a separator that is escaped inside values is none of
them.  So ``orders:{id}`` and ``orders:of:{user_id}`` are told apart where `id` is a number.
"""

from __future__ import annotations

from collections.abc import Mapping
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
        """Say whether both have a character in common."""
        if self.characters is not None and other.characters is not None:
            return bool(self.characters & other.characters)
        for one, two in ((self, other), (other, self)):
            if one.characters is not None:
                return bool(one.characters - two.never)
        return True


def could_be_equal(
    one: KeyTemplate,
    one_alphabets: Mapping[str, str],
    other: KeyTemplate,
    other_alphabets: Mapping[str, str],
) -> bool:
    """Say whether a row each could have the same key.

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
        # What is escaped stands there as %3A.
        hexes = "%0123456789ABCDEF" if escaped & set(alphabet) else ""
        characters = frozenset(alphabet) - escaped | frozenset(hexes)
        out += [_Atom(characters), _Atom(characters, repeats=True)]
    return out
