"""Kinds of models: what a record of each is, how it is loaded, adapted, run and compared.

Below training, packaging and serving, and above the records; each family is a folder that fulfils
`contract.Family`, and nothing outside names a folder but this page.
"""

from typing import Any, get_args

from faults import UserFault
from finetune.families.contract import Family, FamilyName
from finetune.families.libraries import importing

NAMES: tuple[FamilyName, ...] = get_args(FamilyName)


def family(name: str) -> Family:
    """By its name in the catalogue and in a RunSpec. Raises LookupError for a name that is none."""
    match name:
        case "causal_lm":
            with importing("finetune.families.causal_lm.family"):
                from finetune.families.causal_lm.family import CAUSAL_LM

            return CAUSAL_LM
    raise LookupError(f"there is no model family {name!r}")


def family_of(config: dict[str, Any], where: str) -> tuple[FamilyName, str]:
    """The family that knows a config.json's model, and transformers' class for it. Raises the first
    family's UserFault when none does."""
    refusals: list[UserFault] = []
    for name in NAMES:
        try:
            return name, family(name).architecture(config, where)
        except UserFault as refusal:
            refusals.append(refusal)
    raise refusals[0]


def gguf_architectures() -> tuple[str, ...]:
    """Of all families."""
    return tuple(each for name in NAMES for each in family(name).gguf_architectures)
