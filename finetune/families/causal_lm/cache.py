"""Keys and values of a batch whose rows have different lengths, each starting at position 0.

Rows are dense (`0 .. rows - 1`) so that a step reads plain slices; a row that leaves is replaced
by the last one. transformers' own caches cannot let a row join or leave.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache

_BLOCK = 64  # tokens by which the time axis grows


class RaggedCache(Cache):
    """Keys and values [capacity rows, kv heads, capacity tokens, head dim], one pair a layer.

    Before a forward call `begin` says where each row's new tokens go; `update`, called by every
    attention layer, writes them there and returns all that stands in the batch so far.
    """

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.lengths: list[int] = []  # tokens that stand, by row
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._room = (0, 0)  # rows, tokens that the tensors will have on their next write
        self._target: tuple[Tensor, Tensor] | None = None  # (row, position) [rows, new]
        self.span = 0  # tokens that attention looks at in this call

    @property
    def rows(self) -> int:
        return len(self.lengths)

    @property
    def nbytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (*self._keys, *self._values))

    @property
    def bytes_per_token(self) -> int:
        """Bytes that one more token of one row needs."""
        return self.nbytes // max(1, self._room[0] * self._room[1])

    def begin(self, counts: list[int], width: int, device: torch.device) -> Tensor:
        """Announce `counts[row]` new tokens in a batch padded on the right to `width`.

        Returns their positions [rows, width]. Padding is written too, behind its row's end, where
        nothing looks before the next token overwrites it.
        """
        starts = torch.tensor(self.lengths, device=device)
        positions = starts[:, None] + torch.arange(width, device=device)
        self._target = torch.arange(self.rows, device=device)[:, None], positions
        self.span = max(self.lengths) + width
        self._reserve(self.rows, self.span)
        self.lengths = [old + new for old, new in zip(self.lengths, counts, strict=True)]
        return positions

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """New states [rows, kv heads, width, head dim] in, all of the batch out."""
        assert self._target is not None
        if layer_idx == len(self._keys):
            self._keys.append(self._blank(key_states))
            self._values.append(self._blank(value_states))
        rows, positions = self._target
        self._keys[layer_idx][rows, :, positions] = key_states.transpose(1, 2)
        self._values[layer_idx][rows, :, positions] = value_states.transpose(1, 2)
        seen = (slice(self.rows), slice(None), slice(self.span))
        return self._keys[layer_idx][seen], self._values[layer_idx][seen]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return max(self.lengths, default=0)

    def take(self, other: "RaggedCache", row: int, copies: int = 1) -> None:
        """Append `copies` of another cache's row."""
        length = other.lengths[row]
        first = self.rows
        self._reserve(first + copies, length)
        self.lengths += [length] * copies
        for mine, theirs in (self._keys, other._keys), (self._values, other._values):
            for layer, source in enumerate(theirs):
                if layer == len(mine):
                    mine.append(self._blank(source))
                mine[layer][first : self.rows, :, :length] = source[row, :, :length]

    def drop(self, row: int) -> None:
        """Remove a row; the last row takes its place."""
        last = self.rows - 1
        if row != last:
            for tensor in (*self._keys, *self._values):
                tensor[row, :, : self.lengths[last]] = tensor[last, :, : self.lengths[last]]
            self.lengths[row] = self.lengths[last]
        self.lengths.pop()
        if not self.lengths:  # an idle base holds no memory for tokens
            self._keys, self._values, self._room = [], [], (0, 0)
        elif 2 * self._needed() < self._room[0] * self._room[1]:
            self._resize(self.rows, max(self.lengths))

    def _needed(self) -> int:
        return self.rows * (max(self.lengths) + _BLOCK)

    def _blank(self, like: Tensor) -> Tensor:
        rows, tokens = self._room
        return like.new_zeros(rows, like.shape[1], tokens, like.shape[3])

    def _reserve(self, rows: int, tokens: int) -> None:
        have_rows, have_tokens = self._room
        if rows > have_rows or tokens > have_tokens:
            self._resize(max(rows, have_rows), max(tokens, have_tokens))

    def _resize(self, rows: int, tokens: int) -> None:
        """Layer by layer, so that no two copies of the whole stand in memory."""
        old_rows, old_tokens = self._room
        self._room = (rows, -(-tokens // _BLOCK) * _BLOCK)
        kept_rows, kept_tokens = min(rows, old_rows), min(self._room[1], old_tokens)
        for side in (self._keys, self._values):
            for layer, old in enumerate(side):
                side[layer] = self._blank(old)
                side[layer][:kept_rows, :, :kept_tokens] = old[:kept_rows, :, :kept_tokens]
