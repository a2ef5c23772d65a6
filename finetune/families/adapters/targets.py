"""Which of a base's linear layers an adapter is put on, in the words of peft's `target_modules`.

Three kinds of bases need more than the layers' own names. Of one with a mixture of experts only
attention is adapted: transformers 5 holds the experts in fused tensors that are no linear layers,
and peft reads names such as "gate_proj" there as those tensors. Of one that reads images, too, only
the text model is: its image tower has layers of the same names. And of an encoder that has a pooler
for its own first training, the pooler is not: no vector comes out of it.
"""

import re
from typing import Any

from torch import nn

from finetune.families.contract import AdapterSpec

TEXT = "model.language_model."
POOLER = "pooler"
_ATTENTION = ".self_attn."


def has_experts(model: nn.Module) -> bool:
    return any(name.endswith(".experts") for name, _ in model.named_modules())


def peft_targets(model: Any, spec: AdapterSpec) -> str | list[str]:
    """For LoraConfig. Raises ValueError for names of what is not adapted in this base."""
    if not isinstance(spec.targets, str):
        return _named(model, list(spec.targets))
    if has_experts(model) or _reads_images(model) or hasattr(model, POOLER):
        return _anywhere(model, _last_parts(_offered(model)))
    return spec.targets


def _named(model: Any, names: list[str]) -> str | list[str]:
    if has_experts(model):
        known = _offered(model)
        for name in names:
            if not any(layer == name or layer.endswith(f".{name}") for layer in known):
                raise ValueError(
                    f"{name!r} is not offered: of a mixture of experts only attention is adapted, "
                    f"that is {', '.join(_last_parts(known))}"
                )
    return _anywhere(model, names)


def _anywhere(model: Any, names: list[str]) -> str | list[str]:
    """Wherever they stand in the text model, and never in a pooler."""
    choice = "|".join(re.escape(name.removeprefix(TEXT)) for name in names)
    if hasattr(model, POOLER):
        return rf"(?!{POOLER}\.)(.+\.)?({choice})"
    if not _reads_images(model):
        return names
    return rf"{re.escape(TEXT)}(.+\.)?({choice})"


def _offered(model: Any) -> list[str]:
    within = TEXT if _reads_images(model) else ""
    head = model.get_output_embeddings()
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head and name.startswith(within)
    ]
    return [name for name in names if _ATTENTION in name] if has_experts(model) else names


def _last_parts(names: list[str]) -> list[str]:
    return sorted({name.rpartition(".")[2] for name in names})


def _reads_images(model: Any) -> bool:
    return any(name.startswith(TEXT) for name, _ in model.named_modules())
