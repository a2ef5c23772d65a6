"""Suites and evaluations."""

from typing import Any

from django.utils.translation import gettext_lazy as _

EVALUATIONS: dict[str, Any] = {
    "bad_suite_row": _(
        "A row of the suite cannot be asked: it has no question, lacks what the messages name, or "
        "is no JSON object of a fair size. Mend it and bring the file in again."
    ),
    "empty_suite": _("The suite has no rows. Bring in a file with at least one."),
    "suite_too_large": _("The suite's file is too large. Ask fewer rows."),
    "too_many_evaluations": _(
        "Too many of your organisation's evaluations wait already. Wait for one of them, or cancel "
        "it."
    ),
    "eval_in_use": _("An evaluation of this suite has not ended. Cancel it or wait for its end."),
    "evaluation_in_use": _("The evaluation has not ended. Cancel it or wait for its end."),
    "evaluation_withholds": _(
        "The evaluation withholds a model. Release the model, or delete it, then delete the "
        "evaluation."
    ),
    "gate_without_base": _(
        "Only a tuned model, or the result of a job, can be withheld by an evaluation."
    ),
    "gate_too_few_rows": _(
        "The gate could never open: the suite has too few rows to tell. Bring more rows, or "
        "evaluate without a gate."
    ),
    "gate_trained_on": _(
        "The gate could never open: the suite's file is one that the model is trained or chosen "
        "with. Bring other rows, or evaluate without a gate."
    ),
    "job_without_result": _("The job ended without a model to evaluate. See why in its history."),
    "model_withheld": _(
        "This model is withheld: the evaluation that it has to pass has not shown it to be good "
        "enough."
    ),
    "evaluation_unfinished": _("Only evaluations that have succeeded can be compared."),
    "other_questions": _(
        "The two evaluations asked other rows, or held the answers to other criteria, so they "
        "cannot be compared."
    ),
}
