"""The embedded stack's queue after a full disk, kill -9 or a power cut: what was cut off is left
out, and nobody ends over it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue
from kombu.exceptions import ChannelError
from kombu.transport.virtual import BrokerState

from privatune.celery_app import _transport
from privatune.folder_queue import Transport

QUEUE = Queue("io", Exchange("io"), routing_key="io")


@contextmanager
def connected(folder: Path) -> Iterator[Any]:
    """A process's connection, with the queue declared: the queue, the channel and a producer."""
    parts = {name: folder / name for name in ("messages", "processed", "control")}
    for part in parts.values():
        part.mkdir(exist_ok=True)
    options = {
        "data_folder_in": str(parts["messages"]),
        "data_folder_out": str(parts["messages"]),
        "processed_folder": str(parts["processed"]),
        "control_folder": str(parts["control"]),
    }
    with Connection(transport=Transport, transport_options=options) as connection:
        connection.transport.state = BrokerState()  # else what this process has bound before
        queue = QUEUE(connection.default_channel)
        queue.declare()
        yield queue


def send(queue: Any, *bodies: str) -> None:
    with queue.channel.connection.client.Producer() as producer:
        for body in bodies:
            producer.publish(body, exchange=QUEUE.exchange, routing_key="io", retry=False)


def received(queue: Any) -> list[str]:
    """Bodies of all that waits."""
    found = []
    while (message := queue.get(no_ack=True)) is not None:
        found.append(message.payload)
    return found


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*") if path.suffix == ".msg")


@pytest.mark.parametrize("left", [0, 40])
def test_a_message_that_was_cut_off_is_left_out(
    left: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(tmp_path) as queue:
        send(queue, "first", "second", "third")
        torn = files(tmp_path)[1]
        torn.write_bytes(torn.read_bytes()[:left])
        assert len(received(queue)) == 2
        assert f"left out {torn.name}: a message of {left} bytes was cut off" in caplog.text
    assert files(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b'[["io", ', b"\0\0\0", b"7"])
def test_a_damaged_table_is_written_anew(content: bytes, tmp_path: Path) -> None:
    with connected(tmp_path):
        pass
    (tmp_path / "control" / "io.exchange").write_bytes(content)
    with connected(tmp_path) as queue:
        send(queue, "first")
        assert received(queue) == ["first"]


def test_without_room_nothing_half_written_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with connected(tmp_path) as queue:
        before = sorted(tmp_path.glob("*/*"))
        with monkeypatch.context() as full:
            full.setattr(Path, "write_bytes", no_room)
            with pytest.raises(ChannelError, match="No space left"):
                queue.channel._put("io", {"body": "lost"})
        assert sorted(tmp_path.glob("*/*")) == before
        with pytest.raises(Empty):
            queue.channel._get("io")
        send(queue, "first")
        assert received(queue) == ["first"]


def test_two_queues_share_a_table_and_one_leaves_it(tmp_path: Path) -> None:
    with connected(tmp_path) as queue:
        other = Queue("other", QUEUE.exchange, routing_key="other")(queue.channel)
        other.declare()
        bound = {entry.queue for entry in queue.channel.get_table("io")}
        assert bound == {"io", "other"}
        other.delete()
        assert [entry.queue for entry in queue.channel.get_table("io")] == ["io"]
        send(queue, "first")
        assert received(queue) == ["first"]


def test_a_folder_as_broker_is_this_queue(tmp_path: Path) -> None:
    url = str(_transport(f"filesystem://{tmp_path}")["broker_url"])
    with Connection(url) as connection:
        assert connection.get_transport_cls() is Transport
