"""What `/healthz` says of a part that has no room: another thing to mend than one that is away."""

import errno
from collections.abc import Callable
from concurrent.futures import Future
from typing import NoReturn

import pytest

from privatune.health import Part, _said
from tenants.vault.errors import StorageDown, StorageFull


def raising(error: Exception) -> Callable[[], None]:
    def look() -> NoReturn:
        raise error

    return look


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StorageFull("/objects"), "full"),
        (OSError(errno.ENOSPC, "No space left on device"), "full"),
        (OSError(errno.EACCES, "Permission denied"), "unreachable"),
        (StorageDown("/objects", "refused"), "unreachable"),
    ],
)
def test_a_part_without_room_is_full_and_not_unreachable(error: Exception, said: str) -> None:
    found: Future[None] = Part("objects", raising(error)).ask()
    assert found.exception(timeout=60) is error
    assert _said(found) == said


def test_a_part_that_has_not_answered_yet_is_unreachable() -> None:
    assert _said(Future()) == "unreachable"
