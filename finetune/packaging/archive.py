"""The artifact as one .tar: byte for byte a function of its files, and unpacked with suspicion."""

import tarfile
from pathlib import Path, PurePosixPath
from typing import IO

from finetune.packaging.files import walk

DEEPEST = 16  # folders, of a name
LONGEST = 255  # bytes of each part, as file systems have it


class BadArchive(Exception):
    """Why a .tar is not one that `write_tar` could have written."""


def write_tar(folder: Path, out: IO[bytes]) -> None:
    """Every file below `folder`, sorted, without owner, time or mode of its own."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name, path in walk(folder):
            entry = tarfile.TarInfo(name)
            entry.size = path.stat().st_size
            entry.mode = 0o644
            with path.open("rb") as content:
                archive.addfile(entry, content)


def unpack_tar(source: Path, folder: Path) -> None:
    """Write the members into the empty `folder`; BadArchive for anything but plain, new files.

    Reads the file as a stream, never writes more bytes than the archive has.
    """
    left = source.stat().st_size
    seen: set[str] = set()
    try:
        with tarfile.open(source, mode="r:") as archive:
            for entry in archive:
                _require_plain(entry, seen, left)
                left -= entry.size
                _write(archive, entry, folder)
    except (tarfile.TarError, UnicodeDecodeError, ValueError, OverflowError, EOFError) as error:
        raise BadArchive(f"not a whole .tar: {error}") from error


def _require_plain(entry: tarfile.TarInfo, seen: set[str], left: int) -> None:
    if entry.type != tarfile.REGTYPE or entry.issparse():
        raise BadArchive(f"{entry.name!r} is not a plain file")
    if not safe_name(entry.name):
        raise BadArchive(f"{entry.name!r} leads out of the folder or is spelled oddly")
    if entry.name in seen:
        raise BadArchive(f"{entry.name!r} stands in it twice")
    if not 0 <= entry.size <= left:
        raise BadArchive(f"{entry.name!r} claims more bytes than the archive has")
    seen.add(entry.name)


def safe_name(name: str) -> bool:
    """A relative path in its one spelling: no root, dots, backslash or control characters."""
    parts = name.split("/")
    return (
        bool(name)
        and len(parts) <= DEEPEST
        and all(len(part.encode()) <= LONGEST for part in parts)
        and all(part not in ("", ".", "..") for part in parts)
        and "\\" not in name
        and name.isprintable()
        and not PurePosixPath(name).is_absolute()
    )


def _write(archive: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path) -> None:
    target = folder / entry.name
    content = archive.extractfile(entry)
    if content is None:
        raise BadArchive(f"{entry.name!r} has no content")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            while piece := content.read(1 << 20):
                out.write(piece)
    except (FileExistsError, NotADirectoryError) as error:
        raise BadArchive(f"{entry.name!r} is both a file and a folder") from error
