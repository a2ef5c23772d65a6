"""What a process of a sandbox left in its folder, before it is touched from outside: where a file
should be it may have put a link to one of the worker's, or a pipe on which a reader waits for
ever."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from faults import OurFault

LINKS = frozenset({"base"})  # of ours, in a run's folder


def require_plain(folder: Path) -> None:
    """Once it has ended, with all that it started: nothing but folders and plain files is below.

    Raises OurFault `unclean_folder`.
    """
    left, ours = [folder], {folder / name for name in LINKS}
    while left:
        with os.scandir(left.pop()) as entries:
            for each in entries:
                path = Path(each.path)
                if each.is_dir(follow_symlinks=False):
                    left.append(path)
                elif not each.is_file(follow_symlinks=False) and path not in ours:
                    raise _unclean(path)


def opened(path: Path) -> BinaryIO:
    """To be read while it may still write there. Raises OurFault `unclean_folder`, OSError."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if path.is_symlink():
            raise _unclean(path) from error
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise _unclean(path)
    return open(number, "rb")


def _unclean(path: Path) -> OurFault:
    return OurFault(
        "unclean_folder",
        f"A process left something in its folder that is no plain file ({path.name}).",
        fix="Ask for it again; if it fails again, tell the operator.",
    )
