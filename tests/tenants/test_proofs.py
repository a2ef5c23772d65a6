"""Attempts side by side: as many as the limit are let through, and not one more."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from tenants.services import proofs


def attempt(subject: str) -> bool:
    try:
        proofs.begin(
            subject=subject, place=proofs.Place("203.0.113.1", "known"), limits=proofs.PASSWORD
        )
    except proofs.TooManyAttempts:
        return False
    finally:
        connection.close()
    return True


@pytest.mark.usefixtures("committed")
def test_forty_guesses_at_once_are_ten_guesses() -> None:
    subject = proofs.subject_of(uuid.uuid4().hex)
    with ThreadPoolExecutor(20) as threads:
        admitted = list(threads.map(attempt, [subject] * 40))
    assert sum(admitted) == proofs.PASSWORD.place.count
