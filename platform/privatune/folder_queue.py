"""kombu's queue in a folder, whole after a full disk, kill -9 or a power cut.

kombu writes files in place. A message that was cut off, or is read between its making and its
writing, ends the worker that reads it; a table that was cut off ends every process that starts. And
it reads a message by way of the machine's folder for temporary files, where it may have no room.
Messages hold ids only and are sent again, so what cannot be read is told and left out.
"""

# mypy: disable-error-code="no-untyped-call"

import fcntl
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from time import monotonic
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem, virtual
from kombu.utils.json import dumps, loads

log = logging.getLogger(__name__)


class Channel(filesystem.Channel):
    """Every file appears under its name whole or not at all; names and contents are kombu's."""

    def get_table(self, exchange: str) -> list[Any]:
        try:
            return list(super().get_table(exchange))
        except (ValueError, TypeError):
            log.warning("the queue's table %s is damaged; it is written anew", exchange)
            return []

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        bound = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        with self._table_lock():
            table = self.get_table(exchange)
            if bound not in table:
                _write(self._exchange_file(exchange), [bound, *table])

    def _delete(
        self, queue: str, exchange: str, routing_key: str, pattern: str, *args: Any, **named: Any
    ) -> None:
        virtual.Channel._delete(self, queue, *args, **named)
        gone = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        with self._table_lock():
            table = self.get_table(exchange)
            if gone in table:
                _write(self._exchange_file(exchange), [bound for bound in table if bound != gone])

    def _put(  # type: ignore[override]  # kombu's two disagree on the name
        self, queue: str, payload: Any, **_: Any
    ) -> None:
        name = f"{round(monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        _write(Path(self.data_folder_out) / name, payload)

    def _get(self, queue: Any, timeout: Any = None) -> Any:
        folder, taken = Path(self.data_folder_in), Path(self.processed_folder)
        for name in sorted(os.listdir(folder)):
            if name.partition(".")[2] != f"{queue}.msg":
                continue
            try:
                # In the same file system: who succeeds has it alone, and it takes no room
                (folder / name).rename(taken / name)
            except FileNotFoundError:
                continue  # another worker has it
            content = (taken / name).read_bytes()
            (taken / name).unlink()
            try:
                return loads(content.decode())
            except ValueError:
                log.warning("left out %s: a message of %d bytes was cut off", name, len(content))
        raise Empty

    @contextmanager
    def _table_lock(self) -> Iterator[None]:
        self.control_folder.mkdir(exist_ok=True)
        with (self.control_folder / ".lock").open("ab") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield


class Transport(filesystem.Transport):
    """What `filesystem://` is once `register` was called."""

    Channel = Channel


def register() -> None:
    """In this process, before its first connection."""
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:Transport"


def _write(path: Path, content: Any) -> None:
    """Raises ChannelError, and leaves nothing, where there is no room."""
    partial = path.with_name(f".{uuid.uuid4()}.partial")  # of no queue's name
    try:
        partial.write_bytes(dumps(content).encode())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ChannelError(f"{path} cannot be written: {error.strerror}") from error
