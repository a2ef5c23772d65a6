"""The S3 backend against a real server: parts, broken connections, a dying server."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenants.vault.errors import ObjectDamaged, StorageDown
from tenants.vault.stores import s3 as s3_module
from tenants.vault.stores.contract import ObjectStore
from tenants.vault.stores.opening import open_store
from tests.s3 import S3Server, s3_server
from tests.tenants.vault.test_folder import kill_while_writing
from tests.tenants.vault.test_store import get, put, write_and_fail


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[S3Server]:
    """A server that the test may stop."""
    with s3_server(tmp_path / "s3") as server:
        yield server


def test_a_large_object_goes_in_parts_of_a_size_that_s3_takes(s3_store: ObjectStore) -> None:
    data = os.urandom(2 * s3_module.PART + 12_345)
    with s3_store.write("large") as writer:
        for start in range(0, len(data), 1_000_000):
            writer.write(data[start : start + 1_000_000])
    assert s3_store.size("large") == len(data)
    assert get(s3_store, "large") == data
    with s3_store.open("large") as reader:
        assert reader.seek(s3_module.PART - 5) == s3_module.PART - 5
        assert reader.read(10) == data[s3_module.PART - 5 : s3_module.PART + 5]


def test_an_object_of_exactly_whole_parts_is_complete(
    s3_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "PART", 5 << 20)
    put(s3_store, "exact", bytes(10 << 20))
    assert get(s3_store, "exact") == bytes(10 << 20)


def test_a_failing_multipart_upload_is_aborted(s3_store: ObjectStore) -> None:
    write_and_fail(s3_store, "never", bytes(s3_module.PART + 1))
    assert list(s3_store.list()) == []
    assert s3_store.sweep_partial(0) == 0


def test_a_killed_writer_leaves_no_object_and_the_sweep_cleans(s3: S3Server) -> None:
    url = s3.bucket(f"b-{uuid.uuid4().hex}")
    kill_while_writing(url)
    store = open_store(url)
    assert list(store.list()) == []
    assert store.sweep_partial(older_than_s=3600) == 0, "too young to be called abandoned"
    assert store.sweep_partial(older_than_s=0) == 1
    assert store.sweep_partial(older_than_s=0) == 0
    assert list(store.list()) == []


def test_list_goes_beyond_one_page(tmp_path: Path) -> None:
    folder = tmp_path / "s3" / "bucket" / "many"
    folder.mkdir(parents=True)
    names = {f"many/{number}" for number in range(1005)}
    for name in names:
        (folder.parent / name).touch()
    with s3_server(tmp_path / "s3") as server:
        assert set(open_store(server.url("bucket")).list("many/")) == names


def test_two_prefixes_of_a_bucket_do_not_see_each_other(s3: S3Server) -> None:
    bucket = f"b-{uuid.uuid4().hex}"
    url = s3.bucket(bucket)
    one, two = (open_store(url.replace(bucket, f"{bucket}/{name}")) for name in ("one", "two"))
    put(one, "key", b"1")
    put(two, "key", b"2")
    assert (get(one, "key"), get(two, "key")) == (b"1", b"2")
    one.delete("key")
    assert (list(one.list()), list(two.list())) == ([], ["key"])


def test_a_stopped_server_is_known_after_a_few_tries_by_every_operation(
    own_server: S3Server,
) -> None:
    store = open_store(own_server.bucket("bucket"))
    put(store, "one", b"1")
    own_server.stop()
    tries: list[str] = []
    store._client.meta.events.register(
        "before-send.s3", lambda event_name, **_: tries.append(event_name)
    )
    for use in (
        store.health,
        lambda: store.open("one"),
        lambda: store.size("one"),
        lambda: store.delete("one"),
        lambda: list(store.list()),
        lambda: put(store, "two", b"2"),
        lambda: put(store, "two", bytes(s3_module.PART + 1)),
        lambda: store.sweep_partial(),
    ):
        tries.clear()
        with pytest.raises(StorageDown) as caught:
            use()
        assert own_server.endpoint in str(caught.value)
        assert 1 <= len(tries) <= 6, f"it goes on trying: {tries}"


def test_a_server_that_dies_in_the_middle_of_a_write_keeps_nothing_visible(
    own_server: S3Server,
) -> None:
    store = open_store(own_server.bucket("bucket"))
    put(store, "kept", b"before")

    def write() -> None:
        with store.write("kept") as writer:
            writer.write(bytes(s3_module.PART + 1))
            own_server.stop()
            writer.write(bytes(s3_module.PART))

    with pytest.raises(StorageDown):
        write()
    own_server.start()
    assert list(store.list()) == ["kept"]
    assert get(store, "kept") == b"before"


def test_a_read_survives_a_server_that_was_restarted(own_server: S3Server) -> None:
    store = open_store(own_server.bucket("bucket"))
    data = os.urandom(30 << 20)
    put(store, "long", data)
    with store.open("long") as reader:
        got = reader.read(1 << 20)
        own_server.stop()
        own_server.start()
        assert got + reader.read() == data


def test_a_read_from_a_server_that_stays_dead_ends_with_its_cause(own_server: S3Server) -> None:
    store = open_store(own_server.bucket("bucket"))
    put(store, "long", bytes(30 << 20))
    with store.open("long") as reader:
        reader.read(1 << 20)
        own_server.stop()
        with pytest.raises(StorageDown):
            reader.read()


def test_an_object_replaced_under_a_reader_is_never_mixed(s3_store: ObjectStore) -> None:
    put(s3_store, "replaced", b"a" * 1_000_000)
    with s3_store.open("replaced") as reader:
        assert reader.read(10) == b"a" * 10
        put(s3_store, "replaced", b"b" * 1_000_000)
        reader.seek(900_000)
        with pytest.raises(ObjectDamaged, match="replaced"):
            reader.read(10)


def test_a_missing_bucket_is_not_mistaken_for_missing_objects(s3: S3Server) -> None:
    store = open_store(s3.url("no-such-bucket"))
    for use in (store.health, lambda: store.open("one"), lambda: list(store.list())):
        with pytest.raises(StorageDown, match="no such bucket"):
            use()


def test_wrong_credentials_are_named(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = s3.bucket("bucket")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StorageDown, match="SignatureDoesNotMatch"):
        open_store(url).health()


def test_a_full_server_keeps_nothing_visible(small_disk: Path) -> None:
    """rclone says no more than InternalError when its disk is full, so neither can we."""
    with s3_server(small_disk / "s3") as server:
        store = open_store(server.bucket("bucket"))
        put(store, "small", b"fits")
        with pytest.raises(StorageDown):
            put(store, "large", bytes(2 << 20))
        assert list(store.list()) == ["small"]
