"""Every error is a child of one of two families, and says what, where and how to mend it."""

import errno
from importlib import import_module
from pkgutil import walk_packages

import pytest

import faults
import finetune
import privatune
import tenants
from faults import Fault, OurFault, Outage, UserFault, from_dict
from faults.disk import is_full
from tenants.errors import NotFound, TenantGone, Unavailable
from tenants.vault.errors import KeyDestroyed, StorageDown, VaultError

# They run or read the environment when imported, or are data.
ENTRIES = {"__main__", "migrations", "management", "settings", "asgi", "celery_app", "demo"}


def descendants(kind: type[Fault]) -> set[type[Fault]]:
    return {kind}.union(*(descendants(each) for each in kind.__subclasses__()))


def import_all() -> None:
    for package in (faults, tenants, finetune, privatune):
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            if ENTRIES.isdisjoint(module.name.split(".")):
                import_module(module.name)


def test_every_error_is_the_users_or_ours() -> None:
    import_all()
    every, users, ours = map(descendants, (Fault, UserFault, OurFault))
    assert every == {Fault} | users | ours
    assert users.isdisjoint(ours)
    assert len(users) > 10
    assert {each for each in users if not 400 <= each.status < 500} == set()
    # Bytes that are gone for good are gone, whoever's fault it is: asking again is in vain.
    lost = {each for each in ours if each.status < 500}
    assert {each.status for each in lost} == {410}
    assert all(issubclass(each, VaultError) for each in lost)


def test_a_fault_says_what_where_and_how_to_mend_it() -> None:
    whole = UserFault("bad_row", "A row is bad.", where="line 3", fix="Mend it.", param="file")
    assert str(whole) == "A row is bad. (line 3) Fix: Mend it."
    assert str(NotFound("gone", "No such thing.")) == "No such thing."
    assert list(whole.as_dict().items()) == [
        ("family", "user"), ("code", "bad_row"), ("message", "A row is bad."),
        ("where", "line 3"), ("fix", "Mend it."), ("param", "file"),
    ]  # fmt: skip
    assert whole.fields() == {n: v for n, v in whole.as_dict().items() if n != "family"}


@pytest.mark.parametrize(
    ("fault", "kind"), [(TenantGone(), UserFault), (StorageDown("here", "why"), OurFault)]
)
def test_what_another_process_was_told_is_the_same_fault_of_the_same_family(
    fault: Fault, kind: type[Fault]
) -> None:
    read = from_dict(fault.as_dict())
    assert type(read) is kind
    assert (str(read), read.as_dict()) == (str(fault), fault.as_dict())


def test_words_that_name_our_machines_are_told_to_nobody() -> None:
    import_all()
    for kind in descendants(VaultError):
        assert kind.private or kind.status == 410, kind
    for kind in descendants(Outage) & descendants(VaultError):
        assert kind is VaultError or kind.told_fix, kind
    assert not KeyDestroyed.private
    assert not Unavailable.private


def test_a_full_disk_is_told_apart_from_one_that_fails() -> None:
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    assert all(is_full(OSError(number, "x")) for number in full)
    assert not is_full(OSError(errno.EIO, "x"))
    assert not is_full(ValueError("No space left on device"))
