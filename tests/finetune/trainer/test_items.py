"""What stands together stays together; and rows of one sequence go as they always went."""

import random
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from finetune.families.causal_lm.layout import Row
from finetune.records.kinds import Group, Item
from finetune.trainer.data import make_plan, micro_batches
from finetune.trainer.loop import sequences

LENGTHS = st.integers(1, 40)
ROWS = st.lists(LENGTHS, min_size=1, max_size=30)
GROUPS = st.lists(st.lists(LENGTHS, min_size=1, max_size=4), min_size=1, max_size=20)


def row_of(length: int) -> Row:
    return Row(range(length), bytes([1]) * length)


def items_of(groups: list[list[int]]) -> list[Item]:
    """Groups of one are plain rows, as the reader makes them."""
    return [
        row_of(group[0]) if len(group) == 1 else Group(tuple(map(row_of, group)))
        for group in groups
    ]


@given(GROUPS, st.integers(1, 5), st.integers(0, 9), st.sampled_from([None, 1, 30, 200]))
def test_every_epoch_takes_every_item_once_and_a_step_is_a_function_of_seed_and_step(
    groups: list[list[int]], batch_size: int, seed: int, pack_to: int | None
) -> None:
    items = items_of(groups)
    plan, again = (
        make_plan(items, batch_size=batch_size, epochs=2, seed=seed, pack_to=pack_to)
        for _ in range(2)
    )
    steps = range(plan.total_steps)
    backwards = [again.rows_of(step) for step in reversed(steps)]
    assert [plan.rows_of(step) for step in steps] == backwards[::-1]
    for epoch in (steps[: plan.steps_per_epoch], steps[plan.steps_per_epoch :]):
        assert sorted(chain(*map(plan.rows_of, epoch))) == list(range(len(items)))


@given(GROUPS, st.integers(1, 120))
def test_no_micro_batch_parts_or_loses_an_item(groups: list[list[int]], tokens: int) -> None:
    items = items_of(groups)
    parts = list(micro_batches(items, tokens))
    assert sorted(map(id, chain(*parts))) == sorted(map(id, items))
    for part in parts:
        assert len(part) == 1 or sum(map(len, part)) <= tokens
        laid_out = iter(sequences(part))
        for item in part:  # its sequences are neighbours, in its order
            assert all(next(laid_out) is sequence for sequence in item.sequences)
        assert next(laid_out, None) is None


@given(GROUPS, st.integers(1, 120))
def test_packs_are_filled_with_whole_items(groups: list[list[int]], size: int) -> None:
    items = items_of(groups)
    plan = make_plan(items, batch_size=1, epochs=1, seed=0, pack_to=size)
    for pack in plan.items:
        assert len(pack) == 1 or sum(len(items[number]) for number in pack) <= size


@given(
    ROWS, st.integers(1, 5), st.integers(0, 9), st.sampled_from([None, 40, 90]), st.integers(1, 120)
)
def test_rows_of_one_sequence_are_ordered_packed_and_cut_as_before_there_were_groups(
    lengths: list[int], batch_size: int, seed: int, pack_to: int | None, tokens: int
) -> None:
    rows = [row_of(length) for length in lengths]
    plan = make_plan(rows, batch_size=batch_size, epochs=2, seed=seed, pack_to=pack_to)
    old_items = old_pack(lengths, pack_to) if pack_to else [(i,) for i in range(len(rows))]
    assert list(plan.items) == old_items
    for step in range(plan.total_steps):
        numbers = plan.rows_of(step)
        assert numbers == old_rows_of(old_items, batch_size, seed, step)
        taken = [rows[number] for number in numbers]
        parts = [sequences(part) for part in micro_batches(taken, tokens)]
        assert parts == list(old_micro_batches(taken, tokens))


# --- the arithmetic of the time when an item was a row


def old_pack(lengths: Sequence[int], size: int) -> list[tuple[int, ...]]:
    packs: list[list[int]] = []
    space: list[tuple[int, int]] = []
    for row in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        place = bisect_left(space, (lengths[row], 0))
        if place == len(space):
            packs.append([])
            free, number = size, len(packs) - 1
        else:
            free, number = space.pop(place)
        packs[number].append(row)
        insort(space, (free - lengths[row], number))
    return [tuple(sorted(rows)) for rows in packs]


def old_rows_of(
    items: Sequence[tuple[int, ...]], batch_size: int, seed: int, step: int
) -> list[int]:
    epoch, place = divmod(step, -(-len(items) // batch_size))
    order = list(range(len(items)))
    random.Random(f"privatune {seed} {epoch}").shuffle(order)
    chosen = order[place * batch_size : (place + 1) * batch_size]
    return [row for item in chosen for row in items[item]]


def old_micro_batches(rows: Sequence[Row], tokens: int) -> Iterator[list[Row]]:
    part: list[Row] = []
    size = 0
    for row in sorted(rows, key=len):
        if part and size + len(row) > tokens:
            yield part
            part, size = [], 0
        part.append(row)
        size += len(row)
    if part:
        yield part
