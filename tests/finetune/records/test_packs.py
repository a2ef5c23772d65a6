"""Packs, and their number told from the rows' lengths alone."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from finetune.records.packs import count_packs, pack


@given(st.lists(st.integers(1, 45), max_size=60), st.integers(1, 40))
def test_packs_are_counted_as_they_are_made(lengths: list[int], size: int) -> None:
    assert count_packs(Counter(lengths), size) == len(pack(lengths, size))


@given(st.dictionaries(st.integers(1, 40), st.integers(1, 300), max_size=12))
def test_many_rows_of_a_length_are_counted_at_once(rows: dict[int, int]) -> None:
    lengths = list(Counter(rows).elements())
    assert count_packs(rows, 40) == len(pack(lengths, 40))


def test_a_hundred_million_rows_are_counted_at_once() -> None:
    assert count_packs({10: 10**8, 3: 10**8}, 20) == 5 * 10**7 + -(-(10**8) // 6)
