"""Which fields of a form, and which files, are of which method: the rest is neither shown nor
read."""

from typing import Any

from django import forms
from django.db.models import QuerySet

from finetune.services.jobs.files import formats_of, trains_on
from finetune.trainer.objectives import METHODS
from privatune.portal.method_settings import MethodSettings
from tenants.models import StoredFile

OF_METHODS = tuple(MethodSettings.base_fields)
# By the field, the method whose `loss_type` it is: each has losses of its own
LOSSES = {"loss_type": "dpo", "policy_loss": "reinforcement", "rerank_loss": "rerank"}
# Where it is not the method's settings that decide
DRAWING = [name for name, method in METHODS.items() if "generation" in method.needs]
OF_TEXT = [name for name, method in METHODS.items() if not method.records.embedded]
ON_ROWS = [name for name, method in METHODS.items() if not method.records.with_rows]
SOME = {
    "grader": DRAWING,
    "reward_model": DRAWING,
    "packing": [name for name in ON_ROWS if name in OF_TEXT],
    **dict.fromkeys(("thinking", "dropout", "neftune_noise_alpha"), OF_TEXT),
    "learning_curve": ON_ROWS,
    "further_file": ON_ROWS,
    "further_weight": ON_ROWS,
    **{field: [method] for field, method in LOSSES.items()},
}


def methods_of(field: str) -> list[str] | None:
    """None: every method has it."""
    if field in SOME or field not in OF_METHODS:
        return SOME.get(field)
    return [
        name
        for name, method in METHODS.items()
        if method.settings is not None and field in method.settings.model_fields
    ]


def settings(data: dict[str, Any]) -> dict[str, Any]:
    """What was given of a method's own, as a request names it."""
    given = {name: data[name] for name in OF_METHODS if data[name] not in (None, "")}
    return {"loss_type" if name in LOSSES else name: value for name, value in given.items()}


def of_setting(method: str, name: str) -> str:
    """The field where a setting of the method is given."""
    if name != "loss_type":
        return name
    return next((field for field, of in LOSSES.items() if of == method), name)


def has(method: str, field: str) -> bool:
    methods = methods_of(field)
    return methods is None or method in methods


def shown(field: forms.BoundField, method: str) -> dict[str, Any]:
    """For `job_form.js`, and for a browser without scripts: hidden where the method has it not."""
    methods = methods_of(field.name)
    return {
        "field": field,
        "methods": " ".join(methods) if methods is not None else "",
        "hidden": methods is not None and method not in methods,
    }


def formats() -> dict[str, list[str]]:
    """By method, the formats of files that it trains on."""
    return {method: list(formats_of(method)) for method in METHODS}


def method_for(files: QuerySet[StoredFile], file_id: str) -> str | None:
    """The first method that trains on what the file holds; None: that is not known."""
    found = next((each for each in files if str(each.id) == file_id), None)
    kind: Any = getattr(found, "format", None)
    return next((each for each in METHODS if trains_on(each, kind)), None) if kind else None
