"""Where JSON ends that nothing follows to end it, found out while it comes."""

from dataclasses import dataclass, field


@dataclass
class Whole:
    """One list or object; looks at each character once."""

    _depth: int = field(default=0, init=False)
    _quoted: bool = field(default=False, init=False)
    _escaped: bool = field(default=False, init=False)
    _looked: int = field(default=0, init=False)

    def end(self, text: str, begin: int) -> int | None:
        """Where in `text`, which only grows, what begins at `begin` ends; None while it does not.
        What is no JSON may end anywhere."""
        for at in range(max(begin, self._looked), len(text)):
            if self._closes(text[at]):
                return at + 1
        self._looked = len(text)
        return None

    def _closes(self, letter: str) -> bool:
        if self._quoted:
            self._quoted = self._escaped or letter != '"'
            self._escaped = letter == "\\" and not self._escaped
        elif letter == '"':
            self._quoted = True
        elif letter in "[{":
            self._depth += 1
        elif letter in "]}":
            self._depth -= 1
            return self._depth <= 0
        return False
