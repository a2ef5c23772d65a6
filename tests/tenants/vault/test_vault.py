"""A tenant reads back exactly what it stored; everybody else, and every change, gets nothing."""

import hashlib
import io
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenants.vault.errors import (
    BadKey,
    KeyDestroyed,
    ObjectDamaged,
    ObjectMissing,
    StorageDown,
    StorageFull,
)
from tenants.vault.keys import MasterKey, new_tenant_key, unwrap_tenant_key
from tenants.vault.stores.contract import ObjectStore, Writer
from tenants.vault.stores.folder import FolderStore
from tenants.vault.stores.opening import open_store
from tenants.vault.vault import Vault
from tests.s3 import s3_server
from tests.tenants.vault.conftest import Tenant

MEGABYTE = 1 << 20
TINK_HEADER = 40  # bytes: length, salt and nonce prefix, part of the first segment


class Bench:
    """A tenant's vault in a folder, whose ciphertext a test may read and change."""

    def __init__(self, folder: Path, tenant: Tenant) -> None:
        self.store = FolderStore(folder)
        self.tenant = tenant
        self.vault = tenant.vault(self.store)

    def path(self, name: str) -> Path:
        return self.store.root / str(self.tenant.id) / name

    def refuses(self, name: str, ciphertext: bytes) -> None:
        self.path(name).write_bytes(ciphertext)
        with pytest.raises(ObjectDamaged, match=name):
            self.vault.read_bytes(name)


@pytest.fixture
def bench(tmp_path: Path, tenant: Tenant) -> Bench:
    return Bench(tmp_path / "objects", tenant)


def header_length(ciphertext: bytes) -> int:
    """Bytes before tink's stream: magic, version, length and the wrapped data key."""
    return 9 + int.from_bytes(ciphertext[5:9], "big")


@pytest.mark.parametrize("size", [0, 1, 1000, MEGABYTE - 57, 3 * MEGABYTE + 1])
def test_what_was_put_is_read_back(store: ObjectStore, tenant: Tenant, size: int) -> None:
    vault = tenant.vault(store)
    data = os.urandom(size)
    info = vault.put_bytes("objects/one", data)
    assert vault.read_bytes("objects/one") == data
    with vault.open("objects/one", at=size // 2) as stream:
        assert stream.read() == data[size // 2 :]
    assert info.key == f"{tenant.id}/objects/one"
    assert info.plaintext_bytes == size
    assert info.sha256 == hashlib.sha256(data).hexdigest()
    assert info.ciphertext_bytes == store.size(info.key)


def test_the_store_sees_no_plaintext_and_no_two_equal_ciphertexts(bench: Bench) -> None:
    data = b"the patient's name is Li Lei; " * 1000
    for name in ("one", "two"):
        bench.vault.put_bytes(name, data)
    one, two = bench.path("one").read_bytes(), bench.path("two").read_bytes()
    assert b"patient" not in one
    assert one[9:] != two[9:]
    assert len({one[place : place + 16] for place in range(0, len(one), 16)}) > len(one) // 17


def test_info_is_there_only_after_the_block(bench: Bench) -> None:
    with bench.vault.put("one") as writer:
        writer.write(b"1")
        with pytest.raises(ValueError, match="after the block"):
            _ = writer.info
    assert writer.info.plaintext_bytes == 1


def test_list_and_delete_know_this_tenant_only(
    store: ObjectStore, tenant: Tenant, other_tenant: Tenant
) -> None:
    mine, theirs = tenant.vault(store), other_tenant.vault(store)
    for vault in (mine, theirs):
        vault.put_bytes("objects/a", b"a")
        vault.put_bytes("runs/b", b"b")
    mine.delete("objects/a")
    assert sorted(mine.list()) == ["runs/b"]
    assert sorted(theirs.list()) == ["objects/a", "runs/b"]
    assert sorted(theirs.list("objects/")) == ["objects/a"]
    with pytest.raises(ObjectMissing):
        mine.open("objects/a")


def test_a_name_cannot_lead_to_another_tenant(bench: Bench, other_tenant: Tenant) -> None:
    for name in (f"../{other_tenant.id}/objects/a", f"/{other_tenant.id}/objects/a"):
        with pytest.raises(BadKey):
            bench.vault.open(name)


def test_every_changed_byte_is_noticed(bench: Bench) -> None:
    bench.vault.put_bytes("small", b"fifty rows of somebody's data")
    whole = bench.path("small").read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        bench.refuses("small", bytes(changed))


def test_every_truncation_is_noticed(bench: Bench) -> None:
    bench.vault.put_bytes("small", b"fifty rows of somebody's data")
    whole = bench.path("small").read_bytes()
    for length in range(len(whole)):
        bench.refuses("small", whole[:length])


def test_a_large_object_is_whole_and_in_order_or_refused(bench: Bench) -> None:
    bench.vault.put_bytes("large", os.urandom(3 * MEGABYTE))
    whole = bench.path("large").read_bytes()
    start = header_length(whole)
    ends = [start + number * MEGABYTE for number in range(1, 4)]
    first, second, third, last = (
        whole[begin:end] for begin, end in zip([0, *ends], [*ends, None], strict=True)
    )
    assert first + second + third + last == whole
    for forged in (
        first,
        first + second,
        first + second + third,
        first + third + second + last,
        first + second + second + third + last,
        second + third + last,
        whole + b"\0",
        whole + last,
        whole[: start + TINK_HEADER],
        whole[: start + MEGABYTE + 5000],
    ):
        bench.refuses("large", forged)


@settings(max_examples=40, deadline=None)
@given(place=st.integers(0, 3 * MEGABYTE + 300), bit=st.integers(0, 7))
def test_any_flipped_bit_of_a_large_object_is_noticed(
    large: tuple[Bench, bytes, bytes], place: int, bit: int
) -> None:
    bench, _, ciphertext = large
    changed = bytearray(ciphertext)
    changed[place % len(changed)] ^= 1 << bit
    bench.refuses("large", bytes(changed))


@pytest.fixture(scope="module")
def large(
    tmp_path_factory: pytest.TempPathFactory, master: MasterKey
) -> tuple[Bench, bytes, bytes]:
    """A bench, the plaintext of its object `large` (three segments), and the ciphertext."""
    bench = Bench(tmp_path_factory.mktemp("large") / "objects", Tenant(master))
    plaintext = os.urandom(3 * MEGABYTE - 500)
    bench.vault.put_bytes("large", plaintext)
    return bench, plaintext, bench.path("large").read_bytes()


def test_no_byte_is_handed_out_before_it_is_authenticated(
    large: tuple[Bench, bytes, bytes],
) -> None:
    bench, plaintext, ciphertext = large
    changed = bytearray(ciphertext)
    changed[header_length(ciphertext) + MEGABYTE + 1000] ^= 1  # in the second segment
    bench.path("large").write_bytes(changed)
    got = bytearray()
    with bench.vault.open("large") as stream:
        with pytest.raises(ObjectDamaged):
            _drain(stream, got)
        with pytest.raises(ObjectDamaged):  # and it stays so
            stream.read(1)
    assert 0 < len(got) < MEGABYTE
    assert plaintext.startswith(bytes(got))


def _drain(stream: BinaryIO, into: bytearray) -> None:
    while piece := stream.read(1000):
        into += piece


def test_two_objects_of_a_tenant_cannot_be_swapped(bench: Bench) -> None:
    bench.vault.put_bytes("a", b"the data of January")
    bench.vault.put_bytes("b", b"the data of August.")
    a, b = bench.path("a").read_bytes(), bench.path("b").read_bytes()
    bench.refuses("a", b)
    bench.refuses("b", a)
    split = header_length(a)
    bench.refuses("a", a[:split] + b[split:])


def test_two_tenants_cannot_be_swapped(bench: Bench, other_tenant: Tenant) -> None:
    other_tenant.vault(bench.store).put_bytes("a", b"theirs")
    theirs = (bench.store.root / str(other_tenant.id) / "a").read_bytes()
    bench.vault.put_bytes("a", b"ours")
    bench.refuses("a", theirs)


def test_a_tenants_key_does_not_open_what_stands_under_another_id(bench: Bench) -> None:
    bench.vault.put_bytes("a", b"ours")
    stranger = uuid.uuid4()
    bench.path("a").parent.rename(bench.store.root / str(stranger))
    with pytest.raises(ObjectDamaged):
        Vault(bench.store, stranger, bench.tenant.key).read_bytes("a")


def test_destroying_a_tenants_key_destroys_its_data_and_nobody_elses(
    store: ObjectStore, master: MasterKey, tenant: Tenant, other_tenant: Tenant
) -> None:
    tenant.vault(store).put_bytes("objects/a", b"to be forgotten")
    other_tenant.vault(store).put_bytes("objects/a", b"to be kept")

    tenant.wrapped = b""

    with pytest.raises(KeyDestroyed):
        unwrap_tenant_key(master, tenant.wrapped, tenant.id)
    new_key = unwrap_tenant_key(master, new_tenant_key(master, tenant.id), tenant.id)
    with pytest.raises(ObjectDamaged):  # the bytes are still there, and worth nothing
        Vault(store, tenant.id, new_key).read_bytes("objects/a")
    assert other_tenant.vault(store).read_bytes("objects/a") == b"to be kept"


def test_a_writer_that_fails_stores_nothing(store: ObjectStore, tenant: Tenant) -> None:
    vault = tenant.vault(store)

    def fail() -> None:
        with vault.put("objects/never") as writer:
            writer.write(b"x" * (2 * MEGABYTE))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(vault.list()) == []
    assert store.sweep_partial(0) == 0


def test_a_full_disk_is_a_full_storage_even_when_the_writer_ignores_it(
    small_disk: Path, tenant: Tenant
) -> None:
    vault = tenant.vault(FolderStore(small_disk / "objects"))
    vault.put_bytes("small", b"fits")
    with pytest.raises(StorageFull):
        vault.put_bytes("large", bytes(3 * MEGABYTE))

    def ignore() -> None:
        with vault.put("holed") as writer, pytest.raises(StorageFull):
            writer.write(bytes(3 * MEGABYTE))

    with pytest.raises(StorageFull):
        ignore()
    assert list(vault.list()) == ["small"]
    assert vault.read_bytes("small") == b"fits"


def test_a_storage_that_dies_is_down_and_not_damaged(tmp_path: Path, tenant: Tenant) -> None:
    with s3_server(tmp_path / "s3") as server:
        vault = tenant.vault(open_store(server.bucket("bucket")))
        vault.put_bytes("long", bytes(30 * MEGABYTE))
        with vault.open("long") as stream:
            stream.read(MEGABYTE)
            server.stop()
            with pytest.raises(StorageDown):
                stream.read()
        with pytest.raises(StorageDown):
            vault.put_bytes("other", b"1")


class _Counting:
    """A store that counts the bytes of ciphertext that go through it."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.written = self.read = 0

    @contextmanager
    def write(self, key: str) -> Iterator[Writer]:
        with self._store.write(key) as writer:
            yield _CountingWriter(self, writer)

    def open(self, key: str) -> BinaryIO:
        counting, raw = self, self._store.open(key)

        class Reader(io.RawIOBase):
            def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
                data = self.read(len(buffer))
                buffer[: len(data)] = data
                return len(data)

            def read(self, size: int = -1) -> bytes:
                data = raw.read(size)
                counting.read += len(data)
                return data

            def close(self) -> None:
                raw.close()
                super().close()

        return Reader()  # type: ignore[return-value]


class _CountingWriter:
    def __init__(self, counting: _Counting, writer: Writer) -> None:
        self._counting, self._writer = counting, writer

    def write(self, data: bytes, /) -> int:
        self._counting.written += len(data)
        return self._writer.write(data)


def test_both_ways_are_streams_of_a_few_megabytes(bench: Bench, tenant: Tenant) -> None:
    counting = _Counting(bench.store)
    vault = tenant.vault(counting)  # type: ignore[arg-type]
    with vault.put("long") as writer:
        for done in range(1, 21):
            writer.write(bytes(MEGABYTE))
            assert done - 2 <= counting.written / MEGABYTE <= done + 1
    with vault.open("long") as stream:
        for done in range(1, 21):
            stream.read(MEGABYTE)
            assert counting.read / MEGABYTE <= done + 3


def test_lines_can_be_read_from_an_object(bench: Bench) -> None:
    lines = [f'{{"row": {number}}}\n'.encode() for number in range(200_000)]
    bench.vault.put_bytes("rows", b"".join(lines))
    with bench.vault.open("rows") as stream:
        assert list(stream) == lines


def test_a_stream_is_forward_only_and_says_so(bench: Bench) -> None:
    bench.vault.put_bytes("one", b"123")
    with bench.vault.open("one") as stream:
        assert not stream.seekable()
        with pytest.raises(io.UnsupportedOperation):
            stream.seek(0)


PIECES = st.lists(
    st.one_of(
        st.integers(0, 100),
        st.integers(0, 3 * MEGABYTE // 2),
        st.sampled_from([65_535, 65_536, MEGABYTE - 57, MEGABYTE - 56, MEGABYTE - 16, MEGABYTE]),
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(pieces=PIECES, reads=st.lists(st.integers(0, 2 * MEGABYTE), max_size=6))
def test_a_vault_behaves_like_bytes_in_memory(
    large: tuple[Bench, bytes, bytes], pieces: list[int], reads: list[int]
) -> None:
    vault, pool = large[0].vault, large[1]
    model = io.BytesIO()
    with vault.put("model") as writer:
        for size in pieces:
            assert writer.write(pool[size : 2 * size]) == model.write(pool[size : 2 * size])
    assert writer.info.sha256 == hashlib.sha256(model.getvalue()).hexdigest()
    model.seek(0)
    with vault.open("model") as stream:
        for size in reads:
            assert stream.read(size) == model.read(size)
        assert stream.read() == model.read()
        assert stream.read() == b""


@pytest.mark.parametrize("use", [Vault.open, Vault.read_bytes])
def test_a_missing_object_is_named(bench: Bench, use: Callable[[Vault, str], object]) -> None:
    with pytest.raises(ObjectMissing, match="objects/none"):
        use(bench.vault, "objects/none")


class CountedStore(FolderStore):
    """How many bytes of its files were read."""

    read = 0

    def open(self, key: str) -> BinaryIO:
        store = self

        class Counted(io.FileIO):
            def readinto(self, buffer: Any, /) -> int:
                found = super().readinto(buffer) or 0
                store.read += found
                return found

            def readall(self) -> bytes:
                raise NotImplementedError

        return io.BufferedReader(Counted(str(self.root / key)))


def test_an_object_is_read_on_from_any_byte_and_what_stands_before_is_not(
    tmp_path: Path, tenant: Tenant
) -> None:
    store = CountedStore(tmp_path)
    vault = tenant.vault(store)
    whole = os.urandom(4 * MEGABYTE)  # 4 segments, and what their tags and the header take
    vault.put_bytes("big", whole)
    first = MEGABYTE - TINK_HEADER - 16
    for at in (1, first - 1, first, first + 1, first + MEGABYTE - 16, len(whole) - 1):
        store.read = 0
        with vault.open("big", at=at) as stream:
            assert stream.read() == whole[at:], at
        # its own segment from its beginning, and what a buffer holds around the head
        assert store.read <= len(whole) - at + MEGABYTE + 20_000, at
    store.read = 0
    with vault.open("big", at=len(whole) - 1) as stream:
        assert stream.read() == whole[-1:]
    assert store.read < 20_000, "the last segment is a small one"
    for size in (2, first, first + 1):  # one segment, a full one, and one byte more
        vault.put_bytes(f"size-{size}", whole[:size])
        with vault.open(f"size-{size}", at=size - 1) as stream:
            assert stream.read() == whole[size - 1 : size]


def test_what_was_changed_cut_or_moved_is_not_read_from_its_middle_either(bench: Bench) -> None:
    whole = os.urandom(3 * MEGABYTE)
    bench.vault.put_bytes("big", whole)
    path = bench.path("big")
    sealed = path.read_bytes()
    start = header_length(sealed)
    second, third, fourth = (
        slice(start + n * MEGABYTE, start + (n + 1) * MEGABYTE) for n in (1, 2, 3)
    )

    def refused(changed: bytes, at: int) -> None:
        path.write_bytes(changed)
        with pytest.raises(ObjectDamaged, match="big"), bench.vault.open("big", at=at) as stream:
            stream.read()

    flipped = bytearray(sealed)
    flipped[second.start + 5] ^= 1
    refused(bytes(flipped), MEGABYTE)
    refused(sealed[: third.start] + sealed[second] + sealed[fourth], 2 * MEGABYTE)  # twice the same
    refused(sealed[: fourth.start], 2 * MEGABYTE)  # its last segment is gone
    refused(sealed[: start + 20], 1)
    refused(sealed, 4 * MEGABYTE)  # there is nothing
    other = bytearray(sealed)
    other[start + 3] ^= 1  # the salt
    refused(bytes(other), MEGABYTE)
    path.write_bytes(sealed)
    bench.path("else").write_bytes(sealed)
    with pytest.raises(ObjectDamaged, match="else"):
        bench.vault.open("else", at=MEGABYTE)
