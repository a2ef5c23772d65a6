"""What every store promises, asked of both backends alike."""

import os

import pytest

from tenants.vault.errors import BadKey, ObjectMissing, VaultError
from tenants.vault.stores.contract import ObjectStore
from tenants.vault.stores.opening import open_store


def put(store: ObjectStore, key: str, data: bytes) -> None:
    with store.write(key) as writer:
        writer.write(data)


def get(store: ObjectStore, key: str) -> bytes:
    with store.open(key) as reader:
        return reader.read()


def write_and_fail(store: ObjectStore, key: str, data: bytes) -> None:
    def fail() -> None:
        with store.write(key) as writer:
            writer.write(data)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


@pytest.mark.parametrize("size", [0, 1, 4096, 3_000_000])
def test_what_was_written_is_read_back(store: ObjectStore, size: int) -> None:
    data = os.urandom(size)
    put(store, "tenant/files/one", data)
    assert get(store, "tenant/files/one") == data
    assert store.size("tenant/files/one") == size


def test_an_object_written_in_many_pieces_is_one_object(store: ObjectStore) -> None:
    pieces = [os.urandom(size) for size in (1, 0, 70_000, 5, 300_000)]
    with store.write("many") as writer:
        assert [writer.write(piece) for piece in pieces] == [len(piece) for piece in pieces]
    assert get(store, "many") == b"".join(pieces)


def test_nothing_shows_before_the_writer_is_done(store: ObjectStore) -> None:
    with store.write("late") as writer:
        writer.write(b"x" * 100_000)
        assert list(store.list()) == []
        with pytest.raises(ObjectMissing):
            store.open("late")
    assert list(store.list()) == ["late"]


def test_a_writer_that_fails_leaves_nothing(store: ObjectStore) -> None:
    write_and_fail(store, "never", b"x" * 100_000)
    assert list(store.list()) == []
    assert store.sweep_partial(0) == 0


def test_a_writer_that_fails_leaves_the_object_it_would_have_replaced(store: ObjectStore) -> None:
    put(store, "kept", b"first")
    write_and_fail(store, "kept", b"second")
    assert get(store, "kept") == b"first"


def test_writing_again_replaces_the_whole(store: ObjectStore) -> None:
    put(store, "again", b"a long first content")
    put(store, "again", b"short")
    assert get(store, "again") == b"short"


def test_ranges_are_read_by_seeking(store: ObjectStore) -> None:
    data = os.urandom(2_000_000)
    put(store, "ranges", data)
    with store.open("ranges") as reader:
        assert reader.seekable()
        for start in (1_999_990, 0, 700_000, 700_005):
            assert reader.seek(start) == start
            assert reader.read(100) == data[start : start + 100]
        assert reader.seek(-7, os.SEEK_END) == 1_999_993
        assert reader.read() == data[-7:]
        assert reader.seek(5_000_000) == 5_000_000
        assert reader.read(1) == b""


def test_a_missing_object_is_named(store: ObjectStore) -> None:
    for ask in (store.open, store.size):
        with pytest.raises(ObjectMissing, match="tenant/nowhere") as caught:
            ask("tenant/nowhere")
        assert caught.value.code == "object_missing"
        assert caught.value.fix


def test_a_folder_of_objects_is_no_object(store: ObjectStore) -> None:
    put(store, "tenant/files/one", b"1")
    for ask in (store.open, store.size):
        with pytest.raises(ObjectMissing):
            ask("tenant/files")


def test_delete_removes_once_and_is_content_with_nothing(store: ObjectStore) -> None:
    put(store, "gone", b"1")
    put(store, "stays", b"2")
    store.delete("gone")
    store.delete("gone")
    store.delete("never/was")
    assert list(store.list()) == ["stays"]


def test_list_gives_what_starts_with_the_prefix(store: ObjectStore) -> None:
    for key in ("a/1", "a/2", "a/b/3", "ab/4", "b"):
        put(store, key, key.encode())
    assert sorted(store.list()) == ["a/1", "a/2", "a/b/3", "ab/4", "b"]
    assert sorted(store.list("a/")) == ["a/1", "a/2", "a/b/3"]
    assert sorted(store.list("a")) == ["a/1", "a/2", "a/b/3", "ab/4"]
    assert sorted(store.list("a/b")) == ["a/b/3"]
    assert sorted(store.list("nothing/here")) == []


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/", ".partial/x", "a/.hidden", "-x",
     "a\0b", "a\nb", "a b", "käse", "a\\b", "x" * 201, "/".join(["x" * 100] * 9)],
)  # fmt: skip
def test_a_key_that_could_lead_elsewhere_is_refused(store: ObjectStore, key: str) -> None:
    for use in (store.open, store.size, store.delete):
        with pytest.raises(BadKey):
            use(key)
    with pytest.raises(BadKey), store.write(key):
        pass


@pytest.mark.parametrize("prefix", ["..", "/", "a/../", ".partial"])
def test_a_prefix_that_could_lead_elsewhere_is_refused(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(BadKey):
        list(store.list(prefix))


def test_a_working_store_is_healthy_and_stays_empty(store: ObjectStore) -> None:
    store.health()
    assert list(store.list()) == []
    assert store.sweep_partial(0) == 0


@pytest.mark.parametrize(
    "url",
    ["", "/var/objects", "file://", "file://host/path", "ftp://x/y", "s3://", "s3://b?colour=red"],
)
def test_an_address_that_is_not_understood_says_what_would_be(url: str) -> None:
    with pytest.raises(VaultError, match="file:///absolute/path or s3://") as caught:
        open_store(url)
    assert caught.value.code == "storage_url_invalid"
