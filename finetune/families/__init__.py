"""Kinds of models: what a record of each is, how it is loaded, adapted, run and compared.

Below training, packaging and serving, and above the records; each family is a folder that fulfils
`contract.Family`, and nothing outside names a folder but this page.
"""

import json
from pathlib import Path
from typing import Any, cast

from faults import UserFault
from finetune.families.contract import BASES, Family, FamilyName, Scorer
from finetune.families.libraries import importing
from finetune.records.ranking import has_ranking, read_ranking
from finetune.records.recipe import has_recipe, read_recipe


def family(name: str) -> Family:
    """By its name in the catalogue and in a RunSpec. Raises LookupError for a name that is none."""
    match name:
        case "causal_lm":
            with importing("finetune.families.causal_lm.family"):
                from finetune.families.causal_lm.family import CAUSAL_LM

            return CAUSAL_LM
        case "embedding":
            with importing("finetune.families.embedding.family"):
                from finetune.families.embedding.family import EMBEDDING

            return EMBEDDING
        case "scoring":
            with importing("finetune.families.scoring.family"):
                from finetune.families.scoring.family import SCORING

            return cast(Family, SCORING)
        case "reranking":
            with importing("finetune.families.reranking.family"):
                from finetune.families.reranking.family import RERANKING

            return cast(Family, RERANKING)
    raise LookupError(f"there is no model family {name!r}")


def scorer() -> Scorer:
    """What scores whole conversations with a reward model's adapter."""
    return cast(Scorer, family("scoring"))


def family_of(
    config: dict[str, Any], where: str, *, embeds: bool = False
) -> tuple[FamilyName, str]:
    """The family that knows a config.json's model, and transformers' class for it. `embeds`: the
    folder says how a text becomes a vector, so that a model of an architecture that writes is none.
    Raises the first family's UserFault when none does."""
    refusals: list[UserFault] = []
    for name in ("embedding",) if embeds else BASES:
        try:
            return name, family(name).architecture(config, where)
        except UserFault as refusal:
            refusals.append(refusal)
    raise refusals[0]


def context_length(folder: Path) -> int:
    """Tokens in a row that the base in a folder takes, by its config.json. Raises UserFault."""
    from transformers import AutoConfig

    try:
        told = json.loads((folder / "config.json").read_text("utf-8"))
        embeds = has_recipe(folder)
        name, _ = family_of(told, "config.json", embeds=embeds)
        if embeds:
            return read_recipe(folder).max_length
        if has_ranking(folder):
            return read_ranking(folder).max_length
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return family(name).shape(config).context_length
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserFault(
            "bad_config",
            f"{folder} has no config.json of a base that can be read ({type(error).__name__}).",
            where="config.json",
            fix="Give the folder of a base model, with its config.json and its tokenizer's files.",
        ) from error


def give_head(source: Path, folder: Path) -> None:
    """An encoder without a head, written into `folder` as a base that can learn to rank. Raises
    UserFault."""
    with importing("finetune.families.reranking.heading"):
        from finetune.families.reranking import heading

    heading.give_head(source, folder)


def gguf_architectures() -> tuple[str, ...]:
    """Of all families."""
    return tuple(each for name in BASES for each in family(name).gguf_architectures)
