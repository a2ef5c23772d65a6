"""What training can aim at, by RunSpec's `method`: one file and one entry here for each."""

from finetune.trainer.objectives.contract import Objective, Sums
from finetune.trainer.objectives.sft import SFT

OBJECTIVES = {objective.name: objective for objective in (SFT,)}

__all__ = ["OBJECTIVES", "Objective", "Sums"]
