"""How fast the vault is: its writes and reads against a plain file and against bare AES-256-GCM.

Run `python benchmarks/vault.py [--megabytes 256] [--rounds 5] [--folder DIR]`. The three take turns
in every round on the same folder and data; the figures are medians, the ratio is of those by
processor time, which a busy machine does not change.
"""

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tenants.vault.keys import MasterKey, new_tenant_key, unwrap_tenant_key
from tenants.vault.stores.folder import FolderStore
from tenants.vault.vault import Vault

MEGABYTE = 1 << 20
PIECE = bytes(os.urandom(MEGABYTE))


def pieces(megabytes: int) -> Iterator[bytes]:
    for _ in range(megabytes):
        yield PIECE


class PlainFile:
    """Written, hashed and synced, as any store of uploads must do; no encryption."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "plain"

    def write(self, megabytes: int) -> None:
        digest = hashlib.sha256()
        with open(self._path, "wb") as file:
            for piece in pieces(megabytes):
                file.write(piece)
                digest.update(piece)
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> int:
        with open(self._path, "rb") as file:
            return sum(len(piece) for piece in iter(lambda: file.read(MEGABYTE), b""))


class BareAesGcm:
    """The floor of hashed and authenticated storage: 1 MB pieces under one key, no format."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "aes"
        self._cipher = AESGCM(AESGCM.generate_key(256))

    def write(self, megabytes: int) -> None:
        digest = hashlib.sha256()
        with open(self._path, "wb") as file:
            for number, piece in enumerate(pieces(megabytes)):
                digest.update(piece)
                file.write(self._cipher.encrypt(number.to_bytes(12), piece, None))
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> int:
        total = number = 0
        with open(self._path, "rb") as file:
            while sealed := file.read(MEGABYTE + 16):
                total += len(self._cipher.decrypt(number.to_bytes(12), sealed, None))
                number += 1
        return total


class InVault:
    """What Privatune does: hashed, encrypted, synced, renamed into place."""

    def __init__(self, folder: Path) -> None:
        master, tenant = MasterKey.make_file(folder / "master.json"), uuid.uuid4()
        key = unwrap_tenant_key(master, new_tenant_key(master, tenant), tenant)
        self._vault = Vault(FolderStore(folder / "objects"), tenant, key)

    def write(self, megabytes: int) -> None:
        with self._vault.put("one") as writer:
            for piece in pieces(megabytes):
                writer.write(piece)

    def read(self) -> int:
        with self._vault.open("one") as stream:
            return sum(len(piece) for piece in iter(lambda: stream.read(MEGABYTE), b""))


def seconds(action: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(megabytes: int, rounds: int, folder: Path) -> dict[str, dict[str, float]]:
    """Medians of MB/s by wall clock and by processor time, for each way and direction."""
    ways: dict[str, PlainFile | BareAesGcm | InVault] = {
        "plain file": PlainFile(folder),
        "AES-256-GCM": BareAesGcm(folder),
        "vault": InVault(folder),
    }
    taken: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            taken.setdefault(f"{name}, write", []).append(seconds(partial(way.write, megabytes)))
            taken.setdefault(f"{name}, read", []).append(seconds(way.read))
    return {
        name: {
            "mb_per_s": megabytes / statistics.median(wall for wall, _ in times),
            "mb_per_cpu_s": megabytes / statistics.median(cpu for _, cpu in times),
        }
        for name, times in taken.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="where to write; default: TMPDIR")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = measure(options.megabytes, options.rounds, Path(folder))
    if options.json:
        print(json.dumps(figures))
        return
    for name, figure in figures.items():
        direction = name.rpartition(", ")[2]
        ratio = figure["mb_per_cpu_s"] / figures[f"AES-256-GCM, {direction}"]["mb_per_cpu_s"]
        print(
            f"{name:20} {figure['mb_per_s']:7.0f} MB/s  {figure['mb_per_cpu_s']:7.0f} MB/cpu-s"
            f"  {ratio:5.2f} of AES-256-GCM by processor time"
        )


if __name__ == "__main__":
    main()
