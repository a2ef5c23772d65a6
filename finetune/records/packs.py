"""Rows into packs of at most so many tokens, and the number of packs, told without the rows."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Mapping, Sequence


def pack(lengths: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """Best-fit decreasing: rows into packs of at most `size` tokens; no row is split or lost, and
    one of more tokens (a pair's two sequences) has a pack of its own."""
    packs: list[list[int]] = []
    space: list[tuple[int, int]] = []  # (free tokens, pack), ascending
    for row in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        place = bisect_left(space, (lengths[row], 0))
        if place == len(space):
            packs.append([])
            free, number = size, len(packs) - 1
        else:
            free, number = space.pop(place)
        packs[number].append(row)
        insort(space, (free - lengths[row], number))
    return [tuple(sorted(rows)) for rows in packs]


def count_packs(rows: Mapping[int, int], size: int) -> int:
    """How many packs `pack` makes of so many rows of each length.

    Equal rows are taken together, as best fit fills one pack with them before it opens the next:
    the time grows with the number of lengths, not of rows.
    """
    space: Counter[int] = Counter()  # free tokens -> packs with so many
    frees: list[int] = []  # those of `space`, ascending
    count = 0

    def put(free: int, length: int, packs: int, left: int) -> int:
        """Rows into `packs` packs that have `free` tokens each; how many rows are left."""
        each = free // length
        full = min(left // each, packs)
        _add(space, frees, free - each * length, full)
        _add(space, frees, free, packs - full)
        left -= full * each
        if full == packs or not left:
            return left
        _add(space, frees, free, -1)
        _add(space, frees, free - left * length, 1)
        return 0

    for length, number in sorted(rows.items(), reverse=True):
        left = number
        if length > size:
            count += left
            continue
        while left and (place := bisect_left(frees, length)) < len(frees):
            free = frees.pop(place)
            left = put(free, length, space.pop(free), left)
        new = -(-left // (size // length))
        count += new
        put(size, length, new, left)
    return count


def _add(space: Counter[int], frees: list[int], free: int, packs: int) -> None:
    """So many packs more, or fewer, that have `free` tokens."""
    if not packs:
        return
    if free not in space:
        insort(frees, free)
    space[free] += packs
    if not space[free]:
        del space[free]
        del frees[bisect_left(frees, free)]
