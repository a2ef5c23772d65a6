"""How much memory training takes, told from the headers of a base's weights before anything runs.

The formula and what it leaves out stand in docs/explanation/memory.md; no torch is needed.
"""

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from math import prod
from pathlib import Path

from finetune.families.contract import AdapterSpec, Precision
from finetune.families.layers import is_target, tensor_shapes
from finetune.records.ranking import has_ranking
from finetune.records.recipe import has_recipe

WIDTHS: dict[Precision, int] = {"bf16": 2, "fp32": 4, "fp64": 8}  # bytes of a number
HEAD_SIZE = 64  # at least, so that there are not more scores than are counted
HEAP = 1.5  # a C heap that gives freed tensors back late holds so much more than they are
CHUNK_BYTES = 32 << 20  # of logits at a time (families/causal_lm/head.py)
FLASH_FROM = {2: 256, 4: 64, 8: 64}  # shorter rows have their scores in memory on a CPU
BLOCK = re.compile(r"(.*\blayers?\.\d+)\.(.+?)(?:\.weight)?")
NOT_RUN = re.compile(r"vision|multi_modal")  # parts of a base that no text goes through
EXPERT = re.compile(r"experts\.(\d+\.)?")


@dataclass(frozen=True)
class Block:
    """One layer of the body, in numbers a token: `kept` until its backward pass, `at_once` while it
    is in it, bytes both."""

    kept: int
    at_once: int


@dataclass(frozen=True)
class Footprint:
    """What a training holds, in bytes; `need` adds it up."""

    weights: int
    adapter: int
    gathered: int  # kept for the whole graph whatever the tokens: DoRA with dropout
    blocks: tuple[Block, ...]
    stream: int  # of one token's hidden state
    vocabulary: int
    width: int
    lanes: int
    heap: float

    def need(self, tokens: int, *, checkpointing: bool) -> int:
        """With so many tokens in memory at once."""
        most = max((block.kept for block in self.blocks), default=0)
        at_once = max((block.at_once for block in self.blocks), default=0)
        if checkpointing:
            kept = len(self.blocks) * self.stream + most
        else:
            kept = sum(block.kept for block in self.blocks)
        hidden = 3 * self.stream + 4 * self.stream // self.width  # the last norm, and the head
        graph = round(self.heap * tokens * (kept + at_once + hidden))
        training = graph + self._logits(tokens) + self.gathered
        saving = 3 * self.adapter  # weights and moments as bytes, when no graph is there
        return self.weights + (4 + self.lanes) * self.adapter + max(training, saving)

    def _logits(self, tokens: int) -> int:
        wide = max(self.width, 4)
        whole = tokens * self.vocabulary * wide
        copies = 1 if self.width == wide else 2
        return copies * min(whole, self.lanes * max(CHUNK_BYTES, self.vocabulary * wide))


def footprint(
    base_dir: Path,
    adapter: AdapterSpec,
    *,
    precision: Precision,
    longest: int,
    on_cpu: bool,
    lanes: int = 1,
) -> Footprint:
    """`longest`: tokens of the longest row. Raises OSError or ValueError for a base that cannot be
    read."""
    shapes = tensor_shapes(base_dir)
    width = WIDTHS[precision]
    layers: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    tables = [(0, 0)]
    for name, shape in shapes.items():
        if NOT_RUN.search(name):
            continue
        if found := BLOCK.fullmatch(name):
            layers[found[1]][found[2]] = shape
        elif len(shape) == 2:
            tables.append((shape[0], shape[1]))
    table = max(tables, key=prod)  # of the embeddings, or the head
    of_token = _experts_of_a_token(base_dir)
    embeds = has_recipe(base_dir) or has_ranking(base_dir)
    layer = _TextLayer if embeds else _Layer
    parts = [layer(found, adapter, width, table[1], of_token) for found in layers.values()]
    scores = longest if on_cpu and longest <= FLASH_FROM[width] else 0
    return Footprint(
        weights=width * sum(map(prod, shapes.values())),
        adapter=max(width, 4) * sum(part.adapter for part in parts),
        gathered=sum(part.gathered for part in parts),
        blocks=tuple(Block(part.kept(scores), part.at_once) for part in parts),
        stream=width * table[1],
        vocabulary=0 if embeds else table[0],  # nothing is predicted
        width=width,
        lanes=lanes,
        heap=HEAP if on_cpu else 1.0,
    )


def _experts_of_a_token(base_dir: Path) -> int:
    """Of a mixture of experts; 1 where there is none."""
    path = base_dir / "config.json"
    config = json.loads(path.read_bytes()) if path.is_file() else {}
    return int(config.get("num_experts_per_tok") or 1)


class _Layer:
    """`shapes`: [out, in] of its linear layers, [n] of its norms."""

    def __init__(
        self,
        shapes: dict[str, tuple[int, ...]],
        adapter: AdapterSpec,
        width: int,
        hidden: int,
        experts: int,
    ) -> None:
        self.width, self.hidden, self.spec, self.experts = width, hidden, adapter, experts
        self.stacked = {name: shape for name, shape in shapes.items() if len(shape) == 3}
        self.linear = {name: shape for name, shape in shapes.items() if len(shape) == 2}
        self.adapted = [
            shape
            for name, shape in self.linear.items()
            if adapter.targets == "all-linear" or is_target(name, adapter.targets)
        ]
        self.norms = [name for name, shape in shapes.items() if len(shape) == 1 and "norm" in name]

    def _out(self, *names: str) -> int:
        return sum(shape[0] for name, shape in self.linear.items() if name.endswith(names))

    @property
    def queries(self) -> int:
        """What attention gives, as wide as its queries."""
        return sum(shape[1] for name, shape in self.linear.items() if name.endswith("o_proj"))

    @property
    def keys(self) -> int:
        """Keys and values, which some bases have in one matrix with the queries."""
        return self._out("q_proj", "k_proj", "v_proj", "qkv_proj") - self.queries

    @property
    def inner(self) -> int:
        """Numbers of a token between the two matrices of its network, or its experts'."""
        total = 0
        for name, shape in self.linear.items():
            expert = EXPERT.search(name)
            if name.endswith(("gate_proj", "up_proj", "gate_up_proj", "w1", "w3")) and (
                expert is None or expert[1] == "0."
            ):
                total += shape[0] * (self.experts if expert else 1)
        for name, stack in self.stacked.items():
            if name.endswith("gate_up_proj"):  # [experts, in, out] or [experts, out, in]
                total += self.experts * next((n for n in stack[1:] if n != self.hidden), stack[1])
        return total // 2

    @property
    def adapter(self) -> int:
        """Numbers: A is [r, in], B is [out, r], and DoRA adds [out]. What stands still of one that
        begins in the base is counted as if it were trained."""
        r, dora = self.spec.written_rank, self.spec.use_dora
        return sum(r * (out + into) + (out if dora else 0) for out, into in self.adapted)

    @property
    def gathered(self) -> int:
        """What dropout under DoRA keeps: the weight as its adapter's type."""
        if not (self.spec.use_dora and self.spec.dropout and self.width < 4):
            return 0
        return 4 * sum(out * into for out, into in self.adapted)

    def kept(self, scores: int) -> int:
        """Bytes a token. `scores`: the length of rows whose attention scores stand in memory."""
        width = self.width
        numbers = 3 * self.queries + self.keys  # what attention was given, and gave, twice
        numbers += 4 * self.inner  # gate, its activation, up, their product
        numbers += self.spec.written_rank * len(self.adapted)
        for name in self.norms:
            numbers += self._normed(name)
        wide = sum(self._normed(name) for name in self.norms)  # a norm's input, in float32
        total = width * numbers + max(width, 4) * wide
        if scores:
            heads = max(1, self.queries // HEAD_SIZE)
            total += width * heads * scores
        return total + self._beyond_plain()

    def _normed(self, name: str) -> int:
        """Numbers a token that the norm is over."""
        if "q_norm" in name:
            return self.queries
        return self.keys // 2 if "k_norm" in name else self.hidden

    def _beyond_plain(self) -> int:
        """What DoRA and dropout keep besides, with torch's own gradients."""
        if not (self.spec.use_dora or self.spec.dropout):
            return 0
        total = 0
        for out, into in self.adapted:
            if self.spec.dropout:
                total += 5 * into  # what is left, and the mask
            elif self.width < 4:
                total += 4 * into
            if self.spec.use_dora:
                total += (4 + max(self.width, 4)) * out  # the change, and what it is added to
        return total

    @property
    def at_once(self) -> int:
        """Bytes a token of gradients on their way through the widest part."""
        gradients = 4 * self.inner + 4 * self.hidden + 2 * self.queries
        return self.width * gradients + self._beyond_plain()


class _TextLayer(_Layer):
    """Of a base that embeds or ranks, whatever its layers are called: what goes into each linear
    layer, counted once where several take it, and what comes out of it are kept. What comes out of
    attention or of the network is kept as what the norm behind it is over. Scores are not in
    memory: with a mask of the padding, too, attention goes by torch's fused kernel."""

    SHARING = ("key", "value", "k_lin", "v_lin", "k_proj", "v_proj", "attn.k", "attn.v", "up_proj")

    def kept(self, scores: int) -> int:
        numbers = sum(map(sum, self.linear.values())) - self._shared
        numbers += self.spec.written_rank * len(self.adapted)
        return self.width * numbers + self._beyond_plain()

    @property
    def _shared(self) -> int:
        """Inputs that another layer was given, too."""
        return sum(into for name, (_, into) in self.linear.items() if name.endswith(self.SHARING))

    @property
    def at_once(self) -> int:
        """The sums on the way to each norm, in float32 within it, stand beside the gradients."""
        widest = max((max(shape) for shape in self.linear.values()), default=0)
        gradients = 2 * widest + 4 * self.hidden
        sums = 4 * self.hidden + self._shared
        wide = max(self.width, 4) * 2 * self.hidden
        return self.width * (gradients + sums) + wide + self._beyond_plain()
