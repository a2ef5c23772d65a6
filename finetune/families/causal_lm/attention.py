"""Causal attention over a `Layout`, registered with transformers under our own name.

Rows are gathered from the nodes into right-padded groups, go through torch's fused causal kernel
(flash on CPU and CUDA alike), and the outputs are read back per node. No mask over rows is needed:
padding stands right of every token, where causal attention never looks, and rows are separate
batch entries, so nothing attends across.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from faults import OurFault
from finetune.families.causal_lm.layout import Layout

NAME = "privatune_rows"

# On CPU torch 2.13's flash kernel loses to plain matmuls on short rows: at 8 rows of 49 tokens,
# forward and backward take 12.0 ms against 2.7 in bf16 and 4.6 against 3.8 in fp32 (one Zen core).
SHORT_BF16 = 256
SHORT = 64


def attend_rows(
    module: nn.Module,
    query: Tensor,  # [1, heads, nodes, dim]
    key: Tensor,  # [1, kv_heads, nodes, dim]
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    layout: Layout | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Returns [1, nodes, heads, dim]. Attention dropout is never applied (no base has it).

    `s_aux` [heads]: gpt-oss's sinks, scores of a token that holds nothing.
    """
    if layout is None:
        raise OurFault("layout_lost", "the model did not pass the row layout to its attention")
    outs = []
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))  # [nodes, heads, dim]
    for group in layout.groups:
        gq, gk, gv = (_gather(x, group.gather) for x in (q, k, v))
        out = _causal(
            gq, gk, gv, scaling, sliding_window, softcap, s_aux
        )  # [rows, heads, len, dim]
        outs.append(out.transpose(1, 2).flatten(0, 1))
    flat = outs[0] if len(outs) == 1 else torch.cat(outs)
    return flat.index_select(0, layout.scatter)[None], None


def _gather(x: Tensor, index: Tensor) -> Tensor:
    """[nodes, heads, dim] by [rows, len] -> [rows, heads, len, dim]."""
    return x.index_select(0, index.flatten()).unflatten(0, index.shape).transpose(1, 2)


def _causal(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    length = q.shape[2]
    gqa = q.shape[1] != k.shape[1]
    if softcap is not None or sinks is not None:
        return _by_scores(q, k, v, scaling, window, softcap, sinks)
    if window is None or length <= window:
        if q.device.type == "cpu" and length <= (SHORT_BF16 if q.dtype.itemsize == 2 else SHORT):
            return _short(q, k, v, scaling)
        return scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=gqa)
    mask = _band(length, window, q.device)
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling, enable_gqa=gqa)


def _short(q: Tensor, k: Tensor, v: Tensor, scaling: float | None) -> Tensor:
    """The same sums with the scores in memory, [rows * kv_heads, repeats * len, len]."""
    rows, heads, length, dim = q.shape
    kv_heads = k.shape[1]
    k, v = k.reshape(-1, length, dim), v.reshape(-1, length, dim)
    q = q.reshape(rows * kv_heads, -1, dim)
    hide = torch.full((length, length), float("-inf"), dtype=q.dtype).triu(1)
    mask = hide.repeat(heads // kv_heads, 1)[None]
    scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=scaling or dim**-0.5)
    return torch.bmm(scores.softmax(-1), v).view(rows, heads, length, dim)


def _band(length: int, window: int | None, device: torch.device) -> Tensor:
    """True where token i sees token j: j <= i, and i - j < window."""
    i = torch.arange(length, device=device)
    behind = i[:, None] - i[None, :]
    return (behind >= 0) & (behind < (window or length))


def _by_scores(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """Gemma 2's capped scores and gpt-oss's sinks: no fused kernel of torch's has them, so that the
    scores stand in memory."""
    repeats = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(repeats, dim=1) for x in (k, v))
    scores = q @ k.transpose(2, 3) * (scaling or q.shape[-1] ** -0.5)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~_band(q.shape[2], window, q.device), float("-inf"))
    if sinks is not None:
        scores = torch.cat([scores, sinks.view(1, -1, 1, 1).expand(*scores.shape[:3], 1)], dim=-1)
    shares = scores.softmax(-1, dtype=torch.promote_types(q.dtype, torch.float32)).to(q.dtype)
    return shares[..., : q.shape[2]] @ v


AttentionInterface.register(NAME, attend_rows)  # type: ignore[no-untyped-call,unused-ignore]
