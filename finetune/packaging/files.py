"""Bytes and names: hashing while copying, canonical JSON, exact file lists. No model knowledge."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CHUNK = 1 << 20


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def copy_hashed(source: Path, target: Path, told: Callable[[int], None]) -> str:
    """Copy and hash in one reading, so the hash is of the bytes that were written.

    `told` is called with the size of every piece. Returns the hex SHA-256.
    """
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while piece := reader.read(CHUNK):
            digest.update(piece)
            writer.write(piece)
            told(len(piece))
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def canonical_json(value: Any) -> bytes:
    """One spelling per value: sorted keys, no spaces, UTF-8. What digests are taken over."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode("utf-8")


def pretty_json(value: Any) -> bytes:
    """For people and for diffs; as deterministic as `canonical_json`."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8")


def digest_of(hashes: dict[str, str]) -> str:
    """`sha256:<hex>` over the canonical JSON of {name: SHA-256}: names count, times do not."""
    return "sha256:" + hashlib.sha256(canonical_json(hashes)).hexdigest()


def walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every entry below `folder` that is not a plain directory, as (posix name, path), sorted.

    Links are yielded and never followed; whoever calls decides what a link means.
    """
    found: list[tuple[str, Path]] = []
    for root, folders, names in os.walk(folder, followlinks=False):
        linked = [name for name in folders if (Path(root) / name).is_symlink()]
        for name in [*names, *linked]:
            path = Path(root) / name
            found.append((path.relative_to(folder).as_posix(), path))
    yield from sorted(found)


def sync_folder(folder: Path) -> None:
    """Make the folder's names durable: a rename is not on disk before its parent is."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish_folder(staged: Path, target: Path) -> bool:
    """Rename a finished folder into place. False when `target` is there already (and stays)."""
    for _, path in walk(staged):
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
    sync_folder(staged)
    try:
        staged.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(staged)
        return False
    sync_folder(target.parent)
    return True
