"""Kinds of models: what a record of each is, how it is loaded, adapted, run and compared.

Below training, packaging and serving, and above the records; each family is a folder that fulfils
`contract.Family`, and nothing outside names a folder but this page.
"""

from finetune.families.contract import Family


def family(name: str) -> Family:
    """By its name in the catalogue and in a RunSpec. Raises LookupError for a name that is none."""
    match name:
        case "causal_lm":
            from finetune.families.causal_lm.family import CAUSAL_LM  # brings torch

            return CAUSAL_LM
    raise LookupError(f"there is no model family {name!r}")
