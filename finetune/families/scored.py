"""The architectures that stock transformers have a class for which scores sequences: only on these
can a reward model be used elsewhere."""

import json
from pathlib import Path

from faults import UserFault
from finetune.families.causal_lm.architectures import ARCHITECTURES, TEXT_PARTS

# Granite has no such class; one that reads images, too, names its modules otherwise there
_WITHOUT = {"GraniteForCausalLM"} | {
    name for name, model_type in ARCHITECTURES.items() if model_type in TEXT_PARTS
}
SCORED = frozenset(ARCHITECTURES) - _WITHOUT


def require_scored(base_dir: Path) -> None:
    """By a base's config.json; see `require_architecture`."""
    config = json.loads((base_dir / "config.json").read_text("utf-8"))
    require_architecture(str(config["architectures"][0]))


def require_architecture(name: str) -> None:
    """Raises UserFault `base_without_score`."""
    if name not in SCORED:
        raise UserFault(
            "base_without_score",
            f"Models of the architecture {name} cannot be trained to score: stock transformers "
            "have no class for it that loads them.",
            fix=f"Use a base of one of these: {', '.join(sorted(SCORED))}.",
            param="model",
        )
