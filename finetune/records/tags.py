"""Tags of a row: words for what it is about, such as an ability that it teaches or asks for."""

from typing import Any

MOST = 16  # of a row
LONGEST = 64  # characters


def tags_of(given: Any) -> list[str] | None:
    """Each once, in order; a text stands for one. None: no list of so many such words."""
    tags = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(tags, list) or len(tags) > MOST:
        return None
    if not all(isinstance(each, str) and 0 < len(each) <= LONGEST for each in tags):
        return None
    return list(dict.fromkeys(tags))
