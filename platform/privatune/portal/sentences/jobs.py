"""Files and jobs, from the upload to the packed result."""

from typing import Any

from django.utils.translation import gettext_lazy as _

from privatune.portal.sentences.common import ASK_AGAIN, BASE_UNUSABLE

STORAGE: dict[str, Any] = {
    "storage_full": _("The storage is full. Nothing was kept; tell the operator."),
    "storage_down": _("The storage does not answer now. Try again in a moment."),
    "key_unavailable": _("The organisation's key cannot be had now. Try again in a moment."),
    "key_destroyed": _("The organisation's key was destroyed; its data can never be read again."),
    "object_missing": _("The stored bytes are missing. Bring the file in again."),
    "object_damaged": _("The stored bytes are damaged. Bring the file in again."),
    "object_key_invalid": ASK_AGAIN,
    "storage_url_invalid": ASK_AGAIN,
    "storage_used_up": _(
        "Your organisation's storage has no room for this. Compressed files are counted unpacked, "
        "and a job is asked for all that it may write. Settings shows what is used: delete files "
        "or models you no longer need, or ask the operator for more."
    ),
    "file_too_large": _("The file is too large. Compress it, or split it into several files."),
    "file_not_found": _("There is no such file."),
    "empty_file": _("The file is empty. Bring one in with at least one row."),
    "invalid_purpose": _("A file for this purpose cannot be brought in here."),
    "file_in_use": _("A job still needs this file. Wait until it has ended, or cancel it."),
}

JOBS: dict[str, Any] = {
    "job_not_found": _("There is no such job."),
    "job_not_cancellable": _("The job has ended already."),
    "job_not_pauselable": _("The job has ended already."),
    "job_not_pausable": _("Only a job that is queued or running can be paused."),
    "job_not_resumable": _("Only a job that is paused can be resumed."),
    "too_many_jobs_waiting": _(
        "Too many jobs of your organisation wait for their files to be read. Wait until some are "
        "queued, or cancel some."
    ),
    "too_many_estimates": _(
        "Too many estimates of your organisation are being made. Wait until some are ready."
    ),
    "estimate_not_found": _("There is no such estimate."),
    "not_measured": _("Nothing alike was measured before the job was started or ended."),
    "rehearsal_failed": _("The try of a few steps failed. Ask for the estimate once more."),
    "rehearsal_too_long": _(
        "A few steps take too long to be tried. Lower the batch size or the longest row, or start "
        "the training without knowing its time."
    ),
    "job_too_large": _(
        "The training needs more memory than any known machine has. Lower the longest row or the "
        "adapter's rank, or choose a smaller model."
    ),
    "step_not_allowed": _("The job has gone on meanwhile. Load the page again."),
    "model_not_found": _("This model does not exist, or you have no access to it."),
    "adapter_fixed": _(
        "The model that training goes on from has another adapter. Leave rank, scale and layers "
        "empty to go on with it, or start from the base model."
    ),
    "optimizer_not_kept": _("Only a checkpoint has the state of its optimizer."),
    "base_retired": _("The base of this model is not offered any more. Choose another model."),
    "start_unknown": _(
        "This model does not say how its adapter was made, so training cannot go on from it."
    ),
    "checkpoint_not_found": _("This model has no such checkpoint."),
    "start_missing": _(
        "The weights that training was to go on from are gone. Go on from another model."
    ),
    "start_changed": ASK_AGAIN,
    "too_many_pipelines": _(
        "Too many pipelines of your organisation have not ended. Wait for one, or cancel it."
    ),
    "pipeline_not_found": _("There is no such pipeline."),
    "pipeline_ended": _("The pipeline has ended already."),
    "pipeline_not_paused": _("Only a pipeline that is paused can be resumed."),
    "pipeline_not_failed": _("Only a pipeline that has failed can be tried again."),
    "nothing_to_approve": _("No stage of the pipeline waits for approval."),
    "stage_failed": _("A stage has no result: its job failed or was cancelled. See its page."),
    "gate_not_passed": _(
        "A stage made its validation rows no better, so the next did not begin. Change its data or "
        "settings, or try it again."
    ),
    "model_in_use": _(
        "A job or a pipeline goes on from this model. Wait until it has ended, or cancel it, then "
        "delete the model."
    ),
    "invalid_file_purpose": _("This file was not brought in for training."),
    "invalid_columns": _(
        "The columns are given as field=column, each once: instruction=question, output=answer."
    ),
    "wrong_family": _(
        "This method trains another kind of model: some write, some make vectors of texts, some "
        "score documents beside a query. Choose another base model or another method."
    ),
    "base_without_score": _(
        "This base model cannot become a reward model. Choose another base model."
    ),
    "wrong_kind_of_record": _(
        "This method trains on records of another kind than this file holds. Choose another file or"
        " another method."
    ),
    "row_too_large": _("The row is larger than can be shown here, 1 MB."),
    "row_missing": _("The file has no such row that can be used."),
    "file_not_ready": _("The file is still being checked. Wait until it is usable."),
    "invalid_training_file": _("The training file cannot be used. Its page lists every problem."),
    "invalid_validation_file": _(
        "The validation file cannot be used. Its page lists every problem."
    ),
    "validation_file_missing": _("Evaluation needs a validation file. Choose one."),
    "split_impossible": _(
        "No part of this file can be kept apart for validation: its rows say nearly the same, are "
        "of one group, or are too many. Choose a validation file, or a larger share."
    ),
    "curve_impossible": _(
        "The file has too few rows for a learning curve: it needs trainings on a half, a quarter "
        "and an eighth of them. Bring more rows, lower the batch size, or leave it out."
    ),
    "invalid_value": _("This value cannot be used. Correct it, or leave it out."),
    "unsupported_parameter": _("This setting is not offered here. Leave it out."),
    "waiting": _("Waiting for the machine: the check goes on by itself."),
    "file_deleted": _("The file was deleted."),
    "check_failed": _("The check failed several times. Tell the operator the code."),
    "trainer_died": ASK_AGAIN,
    "database_conflict": ASK_AGAIN,
    "worker_disk": _("The disk of the machine failed. Tell the operator."),
    "worker_lost": _(
        "The worker that ran this was lost. Ask for it once more; if it is lost again, tell the "
        "operator."
    ),
    "base_missing": BASE_UNUSABLE,
    "rows_missing": _("The checked rows of the training file are gone. Bring the file in again."),
    "data_changed": ASK_AGAIN,
    "no_rows": _("There are no rows to train on. Bring in a file with at least one."),
    "row_too_long": _(
        "A row has more tokens than allowed. Raise the longest row, shorten the row, or have long "
        "rows left out or cut."
    ),
    "bad_json": _("A line is not JSON. Mend it and bring the file in again."),
    "bad_row": _("A row cannot be read. Mend it and bring the file in again."),
    "bad_adapter": _("The adapter does not fit this base model. Choose other layers or settings."),
    "unknown_layer": _(
        "This base model has no layer “%(name)s” for an adapter. Did you mean: %(near)s?"
    ),
    "settings_clash": _(
        "Two of these settings do not go together. Leave one of them out; the reference says which."
    ),
    "head_is_target": _("The output head cannot carry an adapter. Leave it out of the layers."),
    "training_diverged": _(
        "Training went astray: several losses in a row were no numbers. Lower the learning rate "
        "multiplier, or raise the rows per step."
    ),
    "training_unstable": _(
        "The training blew up again and again, and was rolled back as often as is allowed. The "
        "job's history names the rows it blew up at: look at them, mend or remove them, and lower "
        "the learning rate multiplier."
    ),
    "unfaithful_architecture": BASE_UNUSABLE,
    "layout_lost": BASE_UNUSABLE,
    "spec_changed": ASK_AGAIN,
    "events_changed": ASK_AGAIN,
    "no_gpu": ASK_AGAIN,
    "no_bf16": ASK_AGAIN,
    "not_deterministic": ASK_AGAIN,
    "unknown_objective": ASK_AGAIN,
    "unmet_need": ASK_AGAIN,
    "no_grader": ASK_AGAIN,
    "too_many_judgements": _(
        "The judging model would have to judge too many answers at once. Lower the batch size, the "
        "answers of a prompt, or the rows of the validation file."
    ),
    "judge_too_slow": _(
        "The judging model took longer than an hour for the answers of one step. Lower the batch "
        "size or the answers of a prompt, or have a smaller model judge."
    ),
    "too_much_to_grade": _(
        "The answers of one step, each with its whole row, are more than a grader is given at "
        "once. Lower the batch size or the answers of a prompt, or shorten the rows."
    ),
    "grader_failed": _(
        "The grader gave no reward for any answer. Try it on an answer and its row, and mend it."
    ),
    "grader_unavailable": ASK_AGAIN,
    "other_adapter": ASK_AGAIN,
    "internal": ASK_AGAIN,
    "disk_full": _("The disk of the machine is full. Tell the operator; nothing trained is lost."),
    "out_of_memory": _(
        "The machine's memory is not enough. Turn gradient checkpointing on, lower the tokens in "
        "memory at once or the longest row, or choose a smaller model."
    ),
    "probe_failed": ASK_AGAIN,
    "sandbox_missing": _(
        "The machine gives no sandbox for processes that handle data. Tell the operator."
    ),
    "check_crashed": ASK_AGAIN,
    "limit_decoded_bytes": _("The unpacked file is too large. Split it into several files."),
    "limit_rows": _("The file has too many rows. Split it into several files."),
    "limit_memory": _(
        "The check needed too much memory. Split the file, or shorten its longest rows."
    ),
    "limit_time": _("The check took too long. Split the file into several files."),
    "no_recipe": _("The base does not say how a text becomes a vector. Tell the operator."),
    "recipe_unsupported": _(
        "The base's way from a text to a vector is not known here. Tell the operator."
    ),
    "loss_needs_lists": _(
        "A listwise loss compares a query's documents, and rows of scored pairs have one. Leave "
        "the loss as it is, or bring queries with negatives."
    ),
    "ranking_unsupported": _(
        "The base's way from a query and a document to a score is not known here. Tell the "
        "operator."
    ),
    "bad_dimensions": _(
        "The base's vectors have fewer dimensions than are asked for. Name no more than it has."
    ),
    "no_tokenizer": _("The base model's tokenizer cannot be loaded. Tell the operator."),
    "packaging_failed": ASK_AGAIN,
    "packaging_io": ASK_AGAIN,
    "packaging_died": ASK_AGAIN,
    "bundle_changed": ASK_AGAIN,
    "unclean_folder": ASK_AGAIN,
    "artifact_exists": ASK_AGAIN,
    "adapter_missing": ASK_AGAIN,
    "adapter_broken": _("Training left numbers that are none. Lower the learning rate multiplier."),
    "foreign_tensor": ASK_AGAIN,
    "parity_failed": _(
        "The packed model does not answer as the trained one did, so it is not given out. Tell "
        "the operator."
    ),
    "adapter_unchanged": _(
        "The training left the model as it was. Train for more passes, with fewer rows per step, "
        "or with a higher learning rate multiplier."
    ),
    "signing_key": ASK_AGAIN,
    "signing_key_not_ours": ASK_AGAIN,
    "public_key": ASK_AGAIN,
}
