"""`minLength` and `maxLength` beside a pattern, written into it: an intersection of the two would
cost minutes for a few hostile bytes.

Done for what can be read at a glance: one row of characters and classes between `^` and `$`, of
which at most one is repeated without an end.
"""

import re
from typing import Any

_ATOM = re.compile(
    r"(?P<one>\[\^?\]?(?:\\.|[^\]\\\[])*\]|\\[dwsDWS.+*?()\[\]{}|/^$\\-]|[^\\.^$|()\[\]{}*+?])"
    r"(?P<times>[*+?]|\{(?P<low>\d{1,4})(?P<to>,(?P<high>\d{1,4})?)?\})?"
)


def bounded(schema: dict[str, Any]) -> str | None:
    """A pattern that is the schema's `pattern` of the schema's lengths; None where it is none that
    can be told."""
    pattern = schema["pattern"]
    low, high = schema.get("minLength", 0), schema.get("maxLength")
    if low == 0 and high is None:
        return str(pattern)
    atoms = _atoms(pattern)
    if atoms is None:
        return None
    least = sum(atom[1] for atom in atoms)
    most = sum(atom[2] or 0 for atom in atoms)
    endless = [number for number, atom in enumerate(atoms) if atom[2] is None]
    if not endless:
        return str(pattern) if least >= low and (high is None or most <= high) else None
    rest_least = least - atoms[endless[0]][1]
    if len(endless) > 1 or rest_least != most:  # the rest would have to be of one length
        return None
    one, begin, _ = atoms[endless[0]]
    begin, end = max(begin, low - most), None if high is None else high - most
    if end is not None and end < begin:
        return None
    atoms[endless[0]] = (one, begin, end)
    return "^" + "".join(_spelt(*atom) for atom in atoms) + "$"


def _atoms(pattern: str) -> list[tuple[str, int, int | None]] | None:
    """(character or class, times at least, times at most)"""
    if len(pattern) < 3 or pattern[0] != "^" or pattern[-1] != "$":
        return None
    place, end, found = 1, len(pattern) - 1, list[tuple[str, int, int | None]]()
    while place < end:
        atom = _ATOM.match(pattern, place, end)
        if atom is None:
            return None
        found.append((atom["one"], *_times(atom)))
        place = atom.end()
    return found


def _times(atom: re.Match[str]) -> tuple[int, int | None]:
    told = atom["times"] or "{1}"
    if told in ("*", "+", "?"):
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[told]
    low = int(atom["low"] or 1)
    return low, low if not atom["to"] else int(atom["high"]) if atom["high"] else None


def _spelt(one: str, low: int, high: int | None) -> str:
    if low == high == 1:
        return one
    times = str(low) if low == high else f"{low},{'' if high is None else high}"
    return f"{one}{{{times}}}"
