"""Whoever waits is told by a code, and of no address or path of ours."""

import pytest

from faults import Outage
from faults.disk import DiskFull
from finetune.events.waits import SomethingAway
from finetune.sandbox.levels import SandboxMissing
from finetune.work.waiting import reason_of
from tenants.vault.errors import KeyUnavailable, StorageDown, StorageFull, VaultOutage


@pytest.mark.parametrize(
    "outage",
    [
        StorageFull("/srv/secret"),
        StorageDown("/srv/secret", "refused"),
        KeyUnavailable("/srv/secret is gone", "x"),
        DiskFull(),
        SandboxMissing("sandbox_missing", "/srv/secret is not there"),
    ],
    ids=lambda outage: outage.code,
)
def test_an_outage_is_waited_for_under_its_own_code(outage: Outage) -> None:
    wait = reason_of(outage)
    assert wait.code == outage.code
    assert "secret" not in wait.text


def test_one_without_words_is_named_by_its_code_alone() -> None:
    wait = reason_of(VaultOutage("of_a_new_kind", "/srv/secret is away"))
    assert wait == SomethingAway(error="of_a_new_kind")
    assert "secret" not in wait.text
