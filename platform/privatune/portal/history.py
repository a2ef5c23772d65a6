"""A job's history in the person's language. Events are kept as the API gives them, in English; here
each kind of message is known by its form. What is not known stays as it is."""

import re
from typing import Any

from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

_N = r"[-+\d.e]+|nan|inf|-inf"
FORMS: list[tuple[str, Any]] = [
    (r"Created fine-tuning job: (?P<name>\S+)", _("The job was made: %(name)s")),
    (
        r"Validating (?:training|validation) file: (?P<name>\S+)",
        _("The file is being checked: %(name)s"),
    ),
    (
        r"Files validated, moving job to queued state\.",
        _("The files are usable; the job is queued."),
    ),
    (r"Fine-tuning job started\.", _("Training has started.")),
    (r"Fine-tuning job continues\.", _("Training goes on.")),
    (r"The fine-tuning job was cancelled\.", _("The job was cancelled.")),
    (r"The fine-tuning job is paused\.", _("The job is paused.")),
    (
        r"Cancellation requested; the training is being stopped\.",
        _("It is to be cancelled; the training is being stopped."),
    ),
    (
        r"Pause requested; the training stops after a checkpoint\.",
        _("It is to be paused; the training stops after a checkpoint."),
    ),
    (r"The pause request was taken back\.", _("It is not to be paused any more.")),
    (
        r"Resumed; the job continues from its last checkpoint\.",
        _("Resumed; the job goes on from its last checkpoint."),
    ),
    (
        r"The job has successfully completed\. New fine-tuned model created: (?P<name>.+)",
        _("Done. The new model is %(name)s"),
    ),
    (r"Training is done\.", _("Training is done.")),
    (r"Checkpoint at step (?P<step>\d+)", _("Checkpoint at step %(step)s")),
    (r"Resumed from step (?P<step>\d+)\.", _("Resumed from step %(step)s.")),
    (
        r"(?P<rows>\d+) rows, (?P<tokens>\d+) trained tokens an epoch, (?P<steps>\d+) steps, "
        r"(?P<precision>\S+) on (?P<device>\S+)\.",
        _(
            "%(rows)s rows, %(tokens)s trained tokens a pass, %(steps)s steps, %(precision)s on "
            "%(device)s."
        ),
    ),
    (
        r"So short a training \(steps: (?P<steps>\d+)\) has no warm-up: it begins at the full "
        r"rate\.",
        _("So short a training (steps: %(steps)s) begins at the full learning rate."),
    ),
    (
        r"The warm-up was to take all (?P<steps>\d+) steps; the last one has the full rate\.",
        _("The warm-up was to take all %(steps)s steps; the last has the full learning rate."),
    ),
    (
        r"Micro-batches are dealt to (?P<lanes>\d+) lanes, (?P<n>\d+) at work at once\.",
        _("The rows are worked on in %(lanes)s lanes, %(n)s at once."),
    ),
    (
        r"One lane works on all threads: this training cannot be dealt to several\.",
        _("One lane works on all threads: this training cannot be dealt to several."),
    ),
    (
        rf"The base's validation loss is (?P<loss>{_N})\.?",
        _("The base's validation loss is %(loss)s."),
    ),
    (
        r"Validated (?P<done>\d+) of (?P<rows>\d+) rows\.",
        _("Validation: %(done)s of %(rows)s rows are read."),
    ),
    (
        rf"Step (?P<step>\d+) was skipped: loss (?P<loss>{_N}), gradient norm (?P<norm>{_N})\.?",
        _("Step %(step)s was skipped: loss %(loss)s, gradient norm %(norm)s."),
    ),
    (
        r"The checkpoint comes from another machine type: the last bits may differ\.",
        _("The checkpoint comes from another type of machine: the last bits may differ."),
    ),
    (
        r"(?P<rows>\d+) rows of the validation file also stand in the training file\.",
        _("%(rows)s rows of the validation file also stand in the training file."),
    ),
    (
        r"The worker's machine gives no sandbox, and the operator allows to train without one: .+",
        _(
            "The worker's machine gives no sandbox, and the operator allows to train without one: "
            "the training could read what its user can read, and reach the network."
        ),
    ),
    (
        r"The worker is shutting down; the job is queued again\.",
        _("The worker is shutting down; the job is queued again."),
    ),
    (
        r".+ The job will be tried again \((?P<n>\d+) of (?P<most>\d+) attempts without "
        r"progress\)\.",
        _("Something broke; the job is tried again (%(n)s of %(most)s attempts without progress)."),
    ),
    (r"Waiting: .+", _("The job waits for the machine or the storage; it goes on by itself.")),
    (r"The job failed: .+", _("The job failed; what is wrong stands above.")),
    (
        r"(?:batch_size: )?(?P<n>\d+): about (?P<steps>\d+) steps an epoch from (?P<rows>\d+) "
        r"rows\.",
        _("Rows per step: %(n)s, so that %(rows)s rows make about %(steps)s steps a pass."),
    ),
    (
        r"(?:n_epochs: )?(?P<n>\d+): (?P<rows>\d+) rows \((?P<tokens>\d+) trained tokens\) are "
        r"seen .+",
        _(
            "Passes over the data: %(n)s for %(rows)s rows (%(tokens)s trained tokens); fewer rows "
            "are seen more often."
        ),
    ),
    (
        rf"(?:learning_rate_multiplier: )?1: the rate for (?P<n>\d+) million parameters, "
        rf"(?P<rate>{_N}), as it is\.",
        _("Learning rate: %(rate)s, as for %(n)s million parameters."),
    ),
    (
        r"The GPU computes in bf16; .+",
        _("The GPU computes in bf16; the adapter and its optimizer stay in fp32."),
    ),
    (r"This processor has no bf16 arithmetic\.", _("This processor has no bf16 arithmetic.")),
    (
        r"Tried both: bf16 \(.+\) is (?:only )?(?P<ratio>[\d.]+) times as fast as fp32.*",
        _("Both were tried: bf16 is %(ratio)s times as fast as fp32 here."),
    ),
    (r"Precision: (?P<precision>\w+)\. .+", _("Precision: %(precision)s")),
]


def told(message: str) -> str:
    """The message in the person's language; an unknown one unchanged."""
    if get_language() == "en":
        return message
    for pattern, words in FORMS:
        if found := re.fullmatch(pattern, message, re.DOTALL):
            return str(words) % found.groupdict()
    return message
