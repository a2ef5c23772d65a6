"""The spool is a temporary file in every way, except that the disk never sees what is in it."""

import io
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenants.vault import spool as spool_module
from tenants.vault.errors import ObjectDamaged, StorageDown, StorageFull
from tenants.vault.spool import BLOCK, EncryptedSpool


def on_disk(folder: Path) -> int:
    """The descriptor of the unlinked file that a spool keeps in `folder`."""
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)
        except FileNotFoundError:
            continue
        if target.startswith(f"{folder}/") and target.endswith(" (deleted)"):
            return int(entry.name)
    raise AssertionError("no unlinked file is open there")


def content(descriptor: int) -> bytes:
    return os.pread(descriptor, 1 << 30, 0)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.binary(max_size=200)),
        st.tuples(st.just("read"), st.integers(-1, 300)),
        st.tuples(st.just("seek"), st.integers(0, 600)),
        st.tuples(st.just("end"), st.integers(-100, 100)),
        st.tuples(st.just("line"), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=400, deadline=None)
@given(operations=OPERATIONS, max_size=st.sampled_from([0, 1, 63, 64, 200, 100_000]))
def test_it_behaves_like_bytes_in_memory(
    operations: list[tuple[str, object]], max_size: int
) -> None:
    model = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch, EncryptedSpool(max_size) as spool:
        patch.setattr(spool_module, "BLOCK", 64)  # so that a few bytes make many blocks
        for name, argument in operations:
            assert _apply(spool, name, argument) == _apply(model, name, argument)
            assert spool.tell() == model.tell()
        spool.seek(0)
        assert spool.read() == model.getvalue()


def _apply(file: io.BufferedIOBase | io.BytesIO, name: str, argument: object) -> object:
    if name == "seek":
        return file.seek(argument)  # type: ignore[arg-type]
    if name == "end":
        size = file.seek(0, io.SEEK_END)
        return file.seek(max(-size, argument), io.SEEK_END)  # type: ignore[type-var]
    if name == "line":
        return file.readline()
    return getattr(file, name)(argument)


def test_small_contents_stay_in_memory(tmp_path: Path) -> None:
    with EncryptedSpool(1000, str(tmp_path)) as spool:
        spool.write(b"x" * 1000)
        assert not spool.spilled
        spool.write(b"x")
        assert spool.spilled


def test_the_disk_sees_no_name_and_no_plaintext(tmp_path: Path) -> None:
    secret = b"the patient's name is Li Lei; " * 10_000
    with EncryptedSpool(1000, str(tmp_path)) as spool:
        spool.write(secret)
        spool.seek(0)
        assert spool.read() == secret
        raw = content(on_disk(tmp_path))
        assert len(raw) >= len(secret)
        assert b"patient" not in raw
        assert list(tmp_path.iterdir()) == []


def test_writing_a_place_twice_never_uses_the_same_key_stream(tmp_path: Path) -> None:
    first, second = b"a" * BLOCK, b"b" * BLOCK
    with EncryptedSpool(0, str(tmp_path)) as spool:
        seen = []
        for text in (first, second, first):
            spool.seek(0)
            spool.write(text + b"next block")
            seen.append(content(on_disk(tmp_path))[:BLOCK])
    ways = {_xor(sealed, text) for sealed, text in zip(seen, (first, second, first), strict=True)}
    assert len(ways) == 3


def _xor(one: bytes, two: bytes) -> bytes:
    return (int.from_bytes(one) ^ int.from_bytes(two)).to_bytes(len(one))


@pytest.mark.parametrize("place", [0, BLOCK - 1, BLOCK + 3, 2 * BLOCK])
def test_a_disk_that_changes_its_mind_is_noticed(tmp_path: Path, place: int) -> None:
    with EncryptedSpool(0, str(tmp_path)) as spool:
        spool.write(bytes(2 * BLOCK))
        spool.write(b"third block")
        descriptor = on_disk(tmp_path)
        os.pwrite(descriptor, bytes([content(descriptor)[place] ^ 1]), place)
        spool.seek(0)
        with pytest.raises(ObjectDamaged):
            spool.read()


def test_a_disk_that_gives_back_what_was_there_before_is_noticed(tmp_path: Path) -> None:
    with EncryptedSpool(0, str(tmp_path)) as spool:
        spool.write(b"a" * BLOCK + b"next")
        descriptor = on_disk(tmp_path)
        before = content(descriptor)
        spool.seek(0)
        spool.write(b"b" * BLOCK + b"next")
        os.pwrite(descriptor, before, 0)
        spool.seek(0)
        with pytest.raises(ObjectDamaged):
            spool.read()


def test_two_spools_share_no_key(tmp_path: Path) -> None:
    sealed = []
    for _ in range(2):
        with EncryptedSpool(0, str(tmp_path)) as spool:
            spool.write(bytes(BLOCK + 1))
            sealed.append(content(on_disk(tmp_path)))
    assert sealed[0] != sealed[1]


def test_a_full_disk_is_named(small_disk: Path) -> None:
    with EncryptedSpool(1000, str(small_disk)) as spool, pytest.raises(StorageFull):
        spool.write(bytes(3 << 20))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with EncryptedSpool(0, str(tmp_path / "none")) as spool, pytest.raises(StorageDown):
        spool.write(b"1")


def test_it_has_the_ways_of_a_temporary_file() -> None:
    with EncryptedSpool() as spool:
        assert spool.name is None
        assert spool.readable()
        assert spool.writable()
        assert spool.seekable()
        with pytest.raises(io.UnsupportedOperation):
            spool.fileno()
        spool.write(memoryview(b"one\ntwo\n"))
        spool.seek(0)
        assert list(spool) == [b"one\n", b"two\n"]
        with pytest.raises(ValueError, match="negative"):
            spool.seek(-1)
    for use in (spool.read, spool.tell, lambda: spool.write(b"")):
        with pytest.raises(ValueError, match="closed"):
            use()
    spool.close()
