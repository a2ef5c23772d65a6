"""In which writing a row is, by its letters: whether a file is Chinese, English or both needs no
model that guesses languages."""

import numpy as np

RANGES: dict[str, tuple[tuple[int, int], ...]] = {
    "han": ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF)),
    "latin": ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x1E00, 0x1EFF)),
    "kana": ((0x3040, 0x30FF),),
    "hangul": ((0x1100, 0x11FF), (0xAC00, 0xD7AF)),
    "cyrillic": ((0x400, 0x52F),),
    "arabic": ((0x600, 0x6FF), (0x750, 0x77F)),
}
# A letter of these says as much as several Latin ones do
_WEIGHTS = {"han": 4, "kana": 2, "hangul": 3}
SCRIPTS = (*RANGES, "mixed", "none")
_MOST = 0.75  # of a row's letters, weighted: else it is mixed
_READ = 20_000  # characters


def script_of(text: str) -> str:
    """One of SCRIPTS. Japanese is kana, though half of it be Han."""
    codes = np.frombuffer(text[:_READ].encode("utf-32-le", "surrogatepass"), np.uint32)
    counts = {
        name: _WEIGHTS.get(name, 1)
        * sum(int(((codes >= low) & (codes <= high)).sum()) for low, high in ranges)
        for name, ranges in RANGES.items()
    }
    if counts["kana"] * 10 > counts["han"]:
        counts["kana"] += counts.pop("han")
    total = sum(counts.values())
    if not total:
        return "none"
    name, most = max(counts.items(), key=lambda each: each[1])
    return name if most >= _MOST * total else "mixed"
