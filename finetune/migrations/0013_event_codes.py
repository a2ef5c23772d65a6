"""Every event gets a stable code. What older versions wrote is told apart by its English words, as
they stood at this migration; what is in none of these forms keeps no code and shows its message."""

import re
from collections.abc import Iterator
from typing import Any

from django.db import migrations, models

NUMBER = r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?"
KINDS = {"step": int, "rows": int, "of": int, "steps": int, "lanes": int, "at_once": int,
         "total_steps": int, "trained_tokens_per_epoch": int, "trained_tokens": int,
         "overlap": int, "attempts": int, "most": int, "batch_size": int, "n_epochs": int,
         "million_parameters": int, "learning_rate": float, "ratio": float,
         "base_valid_loss": float}  # fmt: skip
FORMS = [
    ("job_created", r"Created fine-tuning job: (?P<job>\S+)"),
    ("file_checked", r"Validating (?P<role>training|validation) file: (?P<file>\S+)"),
    ("job_queued", r"Files validated, moving job to queued state\."),
    ("job_started", r"Fine-tuning job started\."),
    ("job_continued", r"Fine-tuning job continues\."),
    ("job_cancelled", r"The fine-tuning job was cancelled\."),
    ("job_paused", r"The fine-tuning job is paused\."),
    ("cancel_requested", r"Cancellation requested; the training is being stopped\."),
    ("pause_requested", r"Pause requested; the training stops after a checkpoint\."),
    ("pause_withdrawn", r"The pause request was taken back\."),
    ("job_resumed", r"Resumed; the job continues from its last checkpoint\."),
    (
        "job_succeeded",
        r"The job has successfully completed\. New fine-tuned model created: (?P<model>.+)",
    ),
    ("training_done", r"Training is done\."),
    ("checkpoint_saved", r"Checkpoint at step (?P<step>\d+)"),
    (
        "checkpoint_replaced",
        r"The checkpoint at step (?P<step>\d+) was replaced by a newer one before it could be "
        r"stored\.",
    ),
    (
        "checkpoint_damaged",
        r"The checkpoint at step (?P<step>\d+) is damaged; an earlier one is used\.",
    ),
    ("checkpoint_unusable", r"checkpoint (?P<step>\d+) cannot be used: (?P<reason>.+)"),
    ("step_resumed", r"Resumed from step (?P<step>\d+)\."),
    (
        "training_planned",
        r"(?P<rows>\d+) rows, (?P<trained_tokens_per_epoch>\d+) trained tokens an epoch, "
        r"(?P<total_steps>\d+) steps, (?P<precision>\S+) on (?P<device>\S+)\.",
    ),
    (
        "no_warmup",
        r"So short a training \(steps: (?P<steps>\d+)\) has no warm-up: it begins at the full "
        r"rate\.",
    ),
    (
        "warmup_shortened",
        r"The warm-up was to take all (?P<steps>\d+) steps; the last one has the full rate\.",
    ),
    (
        "lanes_dealt",
        r"Micro-batches are dealt to (?P<lanes>\d+) lanes, (?P<at_once>\d+) at work at once\.",
    ),
    ("one_lane", r"One lane works on all threads: this training cannot be dealt to several\."),
    ("base_evaluated", rf"The base's validation loss is (?P<base_valid_loss>{NUMBER})\.?"),
    ("validation_goes_on", r"Validated (?P<rows>\d+) of (?P<of>\d+) rows\."),
    (
        "step_skipped",
        rf"Step (?P<step>\d+) was skipped: loss (?P<loss>{NUMBER}|nan|-?inf), "
        rf"gradient norm (?P<grad_norm>{NUMBER}|nan|-?inf)\.?",
    ),
    (
        "other_machine",
        r"The checkpoint comes from another machine type: the last bits may differ\.",
    ),
    (
        "overlap_found",
        r"(?P<overlap>\d+) rows of the validation file also stand in the training file\.",
    ),
    (
        "not_isolated",
        r"The worker's machine gives no sandbox, and the operator allows to train without one: .+",
    ),
    ("job_given_back", r"The worker is shutting down; the job is queued again\."),
    (
        "job_retried",
        r"(?P<reason>.+) The job will be tried again \((?P<attempts>\d+) of (?P<most>\d+) "
        r"attempts without progress\)\.",
    ),
    ("job_waits", r"Waiting: (?P<reason>.+)"),
    ("job_failed", r"The job failed: (?P<reason>.+)"),
    (
        "batch_size_chosen",
        r"batch_size: (?P<batch_size>\d+): about (?P<steps>\d+) steps an epoch from "
        r"(?P<rows>\d+) rows\.",
    ),
    (
        "one_epoch_chosen",
        r"n_epochs: (?P<n_epochs>1): (?P<rows>\d+) rows \((?P<trained_tokens>\d+) trained "
        r"tokens\) are seen .+",
    ),
    (
        "n_epochs_chosen",
        r"n_epochs: (?P<n_epochs>\d+): (?P<rows>\d+) rows \((?P<trained_tokens>\d+) trained "
        r"tokens\) are seen .+",
    ),
    (
        "learning_rate_chosen",
        r"learning_rate_multiplier: 1: the rate for (?P<million_parameters>\d+) million "
        rf"parameters, (?P<learning_rate>{NUMBER}), as it is\.",
    ),
    ("precision_of_gpu", r"Precision: (?P<precision>\w+)\. The GPU computes in bf16; .+"),
    (
        "precision_without_bf16",
        r"Precision: (?P<precision>\w+)\. This processor has no bf16 arithmetic\.",
    ),
    (
        "precision_bf16_slow",
        r"Precision: (?P<precision>\w+)\. Tried both: bf16 \((?P<flags>.+)\) is only "
        r"(?P<ratio>[\d.]+) times as fast as fp32\.",
    ),
    (
        "precision_bf16_fast",
        r"Precision: (?P<precision>\w+)\. Tried both: bf16 \((?P<flags>.+)\) is "
        r"(?P<ratio>[\d.]+) times as fast as fp32 here; .+",
    ),
]
AT_ONCE = 1000


def told_apart(message: str) -> tuple[str, dict[str, Any]]:
    """(code, parameters that the words hold); an empty code for what is in no known form."""
    for code, form in FORMS:
        if found := re.fullmatch(form, message, re.DOTALL):
            words = found.groupdict()
            return code, {name: KINDS.get(name, str)(word) for name, word in words.items()}
    return "", {}


def coded(events: Any) -> Iterator[Any]:
    for event in events.exclude(type="metrics").iterator(chunk_size=AT_ONCE):
        event.code, params = told_apart(event.message)
        event.data = params | event.data
        yield event


def give_codes(apps: Any, schema_editor: Any) -> None:
    events = apps.get_model("finetune", "Event").objects.using(schema_editor.connection.alias)
    events.filter(type="metrics").update(code="step_done")
    batch: list[Any] = []
    for event in coded(events):
        batch.append(event)
        if len(batch) == AT_ONCE:
            events.bulk_update(batch, ["code", "data"])
            batch = []
    events.bulk_update(batch, ["code", "data"])


class Migration(migrations.Migration):
    dependencies = [("finetune", "0012_unread_fields")]

    operations = [
        migrations.AddField(
            "event", "code", models.CharField(blank=True, db_default="", default="", max_length=60)
        ),
        migrations.RunPython(give_codes, migrations.RunPython.noop),
    ]
