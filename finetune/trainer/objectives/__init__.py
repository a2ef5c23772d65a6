"""What training can aim at: one file, and one entry here, for each objective.

A *method* is what a customer asks for, in the words of OpenAI's wire; an *objective* is what the
trainer runs for it. No torch is imported here: the platform reads this page.
"""

from collections.abc import Mapping

from faults import OurFault
from finetune.families.contract import FamilyName
from finetune.trainer.objectives.contract import Metric, Need, Objective, Settings, Sums
from finetune.trainer.objectives.contrastive import CONTRASTIVE
from finetune.trainer.objectives.cosent import COSENT
from finetune.trainer.objectives.dpo import DPO
from finetune.trainer.objectives.kto import KTO
from finetune.trainer.objectives.orpo import ORPO
from finetune.trainer.objectives.pretrain import PRETRAIN
from finetune.trainer.objectives.reinforcement import REINFORCEMENT
from finetune.trainer.objectives.rerank import RERANK
from finetune.trainer.objectives.reward import REWARD
from finetune.trainer.objectives.sft import SFT
from finetune.trainer.objectives.simpo import SIMPO

METHODS = {
    "supervised": SFT,
    "pretrain": PRETRAIN,
    "dpo": DPO,
    "orpo": ORPO,
    "simpo": SIMPO,
    "kto": KTO,
    "reinforcement": REINFORCEMENT,
    "reward": REWARD,
    "contrastive": CONTRASTIVE,
    "cosent": COSENT,
    "rerank": RERANK,
}

OBJECTIVES = {objective.name: objective for objective in METHODS.values()}

# Of what an objective may need besides a model and rows
GIVEN: frozenset[Need] = frozenset({"reference", "generation"})


def usable(
    name: str,
    objectives: Mapping[str, Objective] = OBJECTIVES,
    *,
    family: FamilyName = "causal_lm",
) -> Objective:
    """Raises OurFault for one that is not there, that needs what the trainer does not give, or that
    models of this family do not compute."""
    if name not in objectives:
        raise OurFault("unknown_objective", f"The trainer has no objective {name!r}.")
    objective = objectives[name]
    if missing := sorted(objective.needs - GIVEN):
        raise OurFault(
            "unmet_need",
            f"The objective {name!r} needs what the trainer does not give: {', '.join(missing)}.",
        )
    if objective.family != family:
        raise OurFault(
            "unmet_need", f"Models of the family {family!r} do not compute the objective {name!r}."
        )
    return objective


__all__ = ["METHODS", "OBJECTIVES", "Metric", "Objective", "Settings", "Sums", "usable"]
