"""Which rows were there before: their digests in a table of sixteen bytes a place."""

from array import array

_FULL = 0.6


class SeenRows:
    """Digests of eight bytes tell ten million rows apart with a chance of a collision of 3 in a
    million. A dict would take several times the memory."""

    def __init__(self) -> None:
        self._allot(1 << 12)
        self._count = 0

    def first(self, digest: int, line: int) -> int:
        """The line of the first row with this digest; `line` itself where it is the first."""
        keys, mask = self._keys, self._mask
        digest = digest or 1  # 0 is a free place
        place = digest & mask
        while (found := keys[place]) != digest:
            if not found:
                keys[place], self._lines[place] = digest, line
                self._count += 1
                if self._count > _FULL * (mask + 1):
                    self._grow()
                return line
            place = (place + 1) & mask
        return self._lines[place]

    def _allot(self, places: int) -> None:
        self._keys = array("Q", bytes(8 * places))
        self._lines = array("Q", bytes(8 * places))
        self._mask = places - 1

    def _grow(self) -> None:
        keys, lines = self._keys, self._lines
        self._allot(2 * len(keys))
        self._count = 0
        for digest, line in zip(keys, lines, strict=True):
            if digest:
                self.first(digest, line)
