"""How rows stand in memory: laid end to end without padding, each common beginning only once.

A token's hidden state depends on the tokens before it and on nothing else, so rows that begin
alike (a system prompt, the prompt of several answers) share those states exactly: the rows form a
trie and every node is computed once. Gradients from all rows add up in the shared nodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import torch
from torch import Tensor

# A group of rows goes through one attention call, padded on the right to its longest row. More
# padding than this in a group costs more than another call.
MAX_PADDING = 0.25


@dataclass(frozen=True)
class Row:
    """One sequence that nothing outside attends to; `labels[i]` says whether token i is learnt."""

    input_ids: Sequence[int]
    labels: Sequence[bool] | bytes

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def trained(self) -> int:
        """Labels that have a token before them to be predicted from."""
        return sum(self.labels[1:])

    @property
    def sequences(self) -> tuple["Row"]:
        return (self,)


@dataclass(frozen=True)
class Group:
    """Rows that one attention call takes: `gather` [rows, longest] indexes the nodes."""

    gather: Tensor


@dataclass(frozen=True)
class Layout:
    """A micro-batch. `nodes` <= `tokens`: what is computed, and what the rows hold."""

    input_ids: Tensor  # [1, nodes]
    positions: Tensor  # [1, nodes], from 0 in every row
    groups: tuple[Group, ...]
    scatter: Tensor  # [nodes]: where each node's output stands in the groups' flattened outputs
    predict: Tensor  # [trained]: the node from which each label is predicted
    targets: Tensor  # [trained]: token ids
    paths: tuple[tuple[int, ...], ...]  # each row's nodes
    segments: tuple[tuple[int, int], ...]  # (owner, how many nodes), one after the other
    tokens: int

    @property
    def nodes(self) -> int:
        return self.input_ids.shape[1]


def lay_out(
    rows: Sequence[Row],
    *,
    share_prefixes: bool = True,
    device: torch.device | str = "cpu",
    owners: Sequence[int] | None = None,
) -> Layout:
    """Rows in the order given; group neighbours of like length by sorting before.

    `owners`: whose each row is, where several adapters share a batch. What they compute for equal
    tokens differs, so rows of different owners share no nodes.
    """
    owners = owners or [0] * len(rows)
    roots = owners if share_prefixes else range(len(rows))  # a root of its own shares nothing
    paths, ids, positions, grown = _trie(rows, roots)
    groups, scatter = _group(paths, len(ids))
    predict = [path[i - 1] for row, path in zip(rows, paths, strict=True) for i in _learnt(row)]
    targets = [row.input_ids[i] for row in rows for i in _learnt(row)]

    def tensor(values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long).to(device, non_blocking=True)

    return Layout(
        input_ids=tensor(ids)[None],
        positions=tensor(positions)[None],
        groups=tuple(Group(gather.to(device, non_blocking=True)) for gather in groups),
        scatter=tensor(scatter),
        predict=tensor(predict),
        targets=tensor(targets),
        paths=tuple(map(tuple, paths)),
        segments=_segments(owners, grown),
        tokens=sum(len(row) for row in rows),
    )


def _learnt(row: Row) -> list[int]:
    return [i for i in range(1, len(row)) if row.labels[i]]


def _trie(
    rows: Sequence[Row], roots: Sequence[int]
) -> tuple[list[list[int]], list[int], list[int], list[int]]:
    """Each row's path of nodes from its root, every node's token and position, and how many nodes
    each row added."""
    known: dict[tuple[int, int], int] = {}
    ids: list[int] = []
    positions: list[int] = []
    paths, grown = [], []
    for row, root in zip(rows, roots, strict=True):
        parent, before = -1 - root, len(ids)
        path = []
        for position, token in enumerate(row.input_ids):
            node = known.setdefault((parent, token), len(ids))
            if node == len(ids):
                ids.append(token)
                positions.append(position)
            path.append(node)
            parent = node
        paths.append(path)
        grown.append(len(ids) - before)
    return paths, ids, positions, grown


def _segments(owners: Sequence[int], grown: Sequence[int]) -> tuple[tuple[int, int], ...]:
    runs = groupby(zip(owners, grown, strict=True), key=itemgetter(0))
    return tuple((owner, sum(nodes for _, nodes in run)) for owner, run in runs)


def _group(paths: list[list[int]], nodes: int) -> tuple[list[Tensor], list[int]]:
    """Cut neighbouring rows into groups of little padding; say where each node's output lies.

    Right padding repeats the row's last node: causal attention never looks right, and no output
    is read from there.
    """
    groups: list[Tensor] = []
    scatter = [-1] * nodes
    start = offset = 0
    while start < len(paths):
        end, longest = _group_end(paths, start)
        for r, path in enumerate(paths[start:end]):
            for i, node in enumerate(path):
                if scatter[node] < 0:
                    scatter[node] = offset + r * longest + i
        padded = [path + path[-1:] * (longest - len(path)) for path in paths[start:end]]
        groups.append(torch.tensor(padded, dtype=torch.long))
        offset += (end - start) * longest
        start = end
    return groups, scatter


def _group_end(paths: list[list[int]], start: int) -> tuple[int, int]:
    total, longest = len(paths[start]), len(paths[start])
    end = start + 1
    while end < len(paths):
        wider, sum_ = max(longest, len(paths[end])), total + len(paths[end])
        if sum_ < (1 - MAX_PADDING) * wider * (end - start + 1):
            break
        longest, total, end = wider, sum_, end + 1
    return end, longest
