"""A micro-batch on several processor cores: its rows are dealt to lanes, threads that work side by
side on one model. Torch lets go of Python's lock while it computes, and a core with rows of its own
waits for no other, as the cores that share one small matrix product do.

Each share's sums and gradient are its own, and come in the shares' order: the bits of a result
follow from the spec, not from how many lanes are at work at once or which of them is faster.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Self, TypeVar

import torch

from finetune.families.contract import Adapted
from finetune.records.kinds import Item
from finetune.trainer.cores import available_cores
from finetune.trainer.spec import RunSpec

Done = TypeVar("Done")


def deal(rows: Sequence[Item], lanes: int) -> list[list[Item]]:
    """At most `lanes` shares of like many tokens, each in the order given; none is empty.

    Longest first to whoever has least (Graham 1969): the last to finish is at most a third late.
    """
    shares: list[list[int]] = [[] for _ in range(min(lanes, len(rows)))]
    tokens = [0] * len(shares)
    for number in sorted(range(len(rows)), key=lambda number: -len(rows[number])):
        lightest = tokens.index(min(tokens))
        shares[lightest].append(number)
        tokens[lightest] += len(rows[number])
    return [[rows[number] for number in sorted(share)] for share in shares]


def lanes_of(spec: RunSpec, model: Adapted) -> int:
    """The spec's, or one: for a GPU, for what is drawn by lot (dropout's masks, noise), from one
    generator in the rows' order, and for a model that only one thread may run."""
    alone = spec.device != "cpu" or spec.draws or not model.side_by_side
    return 1 if alone else spec.lanes


class Lanes:
    """`count` lanes that share `threads` threads; as many work at once as the cores allow.

    A micro-batch that makes one share has all threads for itself.
    """

    def __init__(self, count: int, threads: int) -> None:
        self.count = count
        self.threads = threads
        cores = min(threads, available_cores())
        self.at_once = min(count, max(1, cores // self.threads_each(count)))
        self._pool = ThreadPoolExecutor(self.at_once, thread_name_prefix="lane")

    def threads_each(self, shares: int) -> int:
        return max(1, self.threads // shares)

    def map(self, work: Callable[[Sequence[Item]], Done], rows: Sequence[Item]) -> list[Done]:
        """What `work` makes of each share, in the shares' order.

        A fault of one is raised when all have ended, so that none goes on behind its back.
        """
        shares = deal(rows, self.count)
        if len(shares) == 1:
            return [work(rows)]
        threads = self.threads_each(len(shares))

        def in_lane(share: Sequence[Item]) -> Done:
            torch.set_num_threads(threads)  # OpenMP keeps it for each thread apart
            return work(share)

        futures = [self._pool.submit(in_lane, share) for share in shares]
        wait(futures)
        return [future.result() for future in futures]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
