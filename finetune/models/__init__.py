from finetune.models.catalog import CatalogModel
from finetune.models.data import Dataset
from finetune.models.estimates import Estimate, Machine, Pace
from finetune.models.evaluations import Evaluation, Suite
from finetune.models.forms import Form
from finetune.models.jobs import (
    Artifact,
    Checkpoint,
    Event,
    Job,
    JobFile,
    Run,
    StepSample,
    Validation,
)
from finetune.models.minings import Mining
from finetune.models.pipelines import Pipeline, Stage
from finetune.models.profiles import Profile, Scrub

__all__ = [
    "Artifact",
    "CatalogModel",
    "Checkpoint",
    "Dataset",
    "Estimate",
    "Evaluation",
    "Event",
    "Form",
    "Job",
    "JobFile",
    "Machine",
    "Mining",
    "Pace",
    "Pipeline",
    "Profile",
    "Run",
    "Scrub",
    "Stage",
    "StepSample",
    "Suite",
    "Validation",
]
