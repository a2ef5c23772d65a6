"""What a refusal tells the person at a page: one sentence for each stable code, with what to do.

The API and the command line tell errors in the services' own English. A test derives from the
source every code that a page can meet and finds it here.
"""

import re
from collections.abc import Mapping
from typing import Any, Protocol

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from finetune.services.jobs.base_files import UnknownLayer
from privatune.portal import waits

# Told in the person's language already: by Django's own rules for passwords.
IN_THEIR_LANGUAGE = frozenset({"weak_password"})


class Told(Protocol):
    """Any error of ours, or a problem that was made of one."""

    @property
    def code(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def fix(self) -> str | None: ...


_ASK_AGAIN = _("Something on our side broke. Try again; if it stays, tell the operator the code.")
_MODEL_SERVER = _("The model server does not answer now. Try again in a moment.")
_BASE_UNUSABLE = _("This base model cannot be used here. Choose another one, or tell the operator.")
_TOO_MANY_ANSWERS = _("Too many answers are waiting already. Try again in a moment.")

# People, rights, keys, organisation.
_TENANTS: dict[str, Any] = {
    "missing_scope": _("Your role does not give this right. Ask an owner or admin."),
    "role_beyond_own": _("This role is not yours to give or to change. Ask an owner."),
    "scope_beyond_own": _("You can pass on only the rights that you have yourself."),
    "owner_needed": _("Only an owner decides this. Ask an owner of your organisation."),
    "tenant_deleted": _(
        "Its key is destroyed and its data can never be read. The operator has the deletion "
        "certificate."
    ),
    "membership_ended": _("You no longer belong to this organisation."),
    "second_factor_needed": _(
        "This organisation requires a second factor. Load the page again and use or set up yours."
    ),
    "provider_asked_no_factor": _(
        "This organisation requires a second factor, and its provider did not ask for one. Ask "
        "whoever runs the provider, or sign in with your password."
    ),
    "sign_in_required": _("You are not signed in. Sign in and try again."),
    "access_ended": _("You are signed out, or may no longer ask this model."),
    "too_many_attempts": _("Too many failed attempts. Wait a while, then try again."),
    "member_exists": _("That person is a member already."),
    "member_not_found": _("That person is not a member any more."),
    "last_owner": _("This is the organisation's only owner. Make somebody else an owner first."),
    "invalid_role": _("There is no such role."),
    "too_many_invitations_today": _(
        "Too many invitations were sent today, in all or to this address. Go on tomorrow."
    ),
    "too_many_invitations": _("Too many invitations are open. Revoke some first."),
    "invitation_accepted": _("It was accepted already. Remove the member instead."),
    "invitation_not_found": _("This invitation is not open any more."),
    "invitation_for_another_address": _("This invitation is for another address than yours."),
    "inviter_lost_right": _(
        "Whoever invited you may not give this role any more. Ask for a new invitation."
    ),
    "invalid_credentials": _(
        "This password does not open the account of the invited address. Try again, or have it "
        "reset."
    ),
    "invalid_email": _("This is no e-mail address."),
    "name_missing": _("Say what the key is for."),
    "invalid_name": _("Say in 1 to 80 characters what the key is for."),
    "unreadable_text": _(
        "A name or reason is blank or holds a character that cannot be seen. Write it in one line "
        "of visible characters."
    ),
    "invalid_expiry": _("Write the day as 2030-12-31."),
    "expiry_past": _("That day has passed already. To end a key now, revoke it."),
    "account_exists": _("There is an account with this address already: sign in with it."),
    "email_taken": _("There is an account with this address already."),
    "mail_failed": _(
        "The mail server did not take the invitation, so there is none. Try again; if it stays, "
        "tell the operator."
    ),
    "unknown_scope": _("A key needs at least one scope."),
    "too_many_networks": _("These are too many networks for one key."),
    "invalid_network": _(
        "One of the networks cannot be read. Write an address (203.0.113.7) or a network "
        "(203.0.113.0/24, 2001:db8::/32)."
    ),
    "invalid_overlap": _("The old secret cannot live on for so long."),
    "key_ended": _("The key is revoked or expired. Make a new one."),
    "key_not_found": _("There is no such key."),
    "key_of_another": _(
        "This key belongs to somebody else. Revoke it, and let its member make a new one."
    ),
    "service_key_by_owner": _(
        "Only an owner makes and renews service keys, or gives them more time or networks."
    ),
    "expiry_beyond_own": _("The key cannot outlive the one it is made with."),
    "addresses_beyond_own": _("The key cannot work from more networks than your own."),
    "license_required": _(
        "Your organisation's licence for this model does not allow this: it is missing, "
        "suspended, not valid now or used up. The page Licences shows it; ask the operator."
    ),
    "client_missing": _("The client's id and its secret are both needed."),
    "invalid_issuer": _(
        "The issuer must be a plain https:// address. Copy it from the provider, e.g. "
        "https://login.example.com/realms/staff."
    ),
    "issuer_not_allowed": _("The operator of this server does not allow this provider."),
    "invalid_reason": _("Say in 1 to 200 characters why the operator should look."),
    "invalid_limit": _("This limit cannot be set. Give a whole number above 0."),
    "invalid_hours": _("Support access lasts from 1 to 168 hours."),
}
# Bytes and their keys.
_STORAGE: dict[str, Any] = {
    "storage_full": _("The storage is full. Nothing was kept; tell the operator."),
    "storage_down": _("The storage does not answer now. Try again in a moment."),
    "key_unavailable": _("The organisation's key cannot be had now. Try again in a moment."),
    "key_destroyed": _("The organisation's key was destroyed; its data can never be read again."),
    "object_missing": _("The stored bytes are missing. Bring the file in again."),
    "object_damaged": _("The stored bytes are damaged. Bring the file in again."),
    "object_key_invalid": _ASK_AGAIN,
    "storage_url_invalid": _ASK_AGAIN,
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
# Jobs, from the form to the packed result.
_JOBS: dict[str, Any] = {
    "job_not_found": _("There is no such job."),
    "job_not_cancellable": _("The job has ended already."),
    "job_not_pauselable": _("The job has ended already."),
    "job_not_pausable": _("Only a job that is queued or running can be paused."),
    "job_not_resumable": _("Only a job that is paused can be resumed."),
    "step_not_allowed": _("The job has gone on meanwhile. Load the page again."),
    "model_not_found": _("This model does not exist, or you have no access to it."),
    "continue_not_supported": _(
        "Training cannot yet go on from a fine-tuned model. Start from its base model, with all "
        "the data in one training file."
    ),
    "invalid_file_purpose": _("This file was not brought in for training."),
    "invalid_columns": _(
        "The columns are given as field=column, each once: instruction=question, output=answer."
    ),
    "wrong_kind_of_record": _(
        "This method trains on records of another kind than this file holds. Choose another file or"
        " another method."
    ),
    "file_not_ready": _("The file is still being checked. Wait until it is usable."),
    "invalid_training_file": _("The training file cannot be used. Its page lists every problem."),
    "invalid_validation_file": _(
        "The validation file cannot be used. Its page lists every problem."
    ),
    "validation_file_missing": _("Evaluation needs a validation file. Choose one."),
    "invalid_value": _("This value cannot be used. Correct it, or leave it out."),
    "waiting": _("Waiting for the machine: the check goes on by itself."),
    "file_deleted": _("The file was deleted."),
    "check_failed": _("The check failed several times. Tell the operator the code."),
    "trainer_died": _ASK_AGAIN,
    "worker_disk": _("The disk of the machine failed. Tell the operator."),
    "worker_lost": _(
        "The worker that ran this was lost. Ask for it once more; if it is lost again, tell the "
        "operator."
    ),
    "base_missing": _BASE_UNUSABLE,
    "rows_missing": _("The checked rows of the training file are gone. Bring the file in again."),
    "data_changed": _ASK_AGAIN,
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
    "head_is_target": _("The output head cannot carry an adapter. Leave it out of the layers."),
    "training_diverged": _(
        "Training went astray: several losses in a row were no numbers. Lower the learning rate "
        "multiplier, or raise the rows per step."
    ),
    "unfaithful_architecture": _BASE_UNUSABLE,
    "layout_lost": _BASE_UNUSABLE,
    "spec_changed": _ASK_AGAIN,
    "unknown_objective": _ASK_AGAIN,
    "unmet_need": _ASK_AGAIN,
    "other_adapter": _ASK_AGAIN,
    "internal": _ASK_AGAIN,
    "disk_full": _("The disk of the machine is full. Tell the operator; nothing trained is lost."),
    "out_of_memory": _(
        "The machine's memory is not enough. Lower the longest row or the rows per step."
    ),
    "probe_failed": _ASK_AGAIN,
    "sandbox_missing": _(
        "The machine gives no sandbox for processes that handle data. Tell the operator."
    ),
    "check_crashed": _ASK_AGAIN,
    "limit_decoded_bytes": _("The unpacked file is too large. Split it into several files."),
    "limit_rows": _("The file has too many rows. Split it into several files."),
    "limit_memory": _(
        "The check needed too much memory. Split the file, or shorten its longest rows."
    ),
    "limit_time": _("The check took too long. Split the file into several files."),
    "no_tokenizer": _("The base model's tokenizer cannot be loaded. Tell the operator."),
    "packaging_failed": _ASK_AGAIN,
    "packaging_io": _ASK_AGAIN,
    "packaging_died": _ASK_AGAIN,
    "bundle_changed": _ASK_AGAIN,
    "artifact_exists": _ASK_AGAIN,
    "adapter_missing": _ASK_AGAIN,
    "adapter_broken": _("Training left numbers that are none. Lower the learning rate multiplier."),
    "foreign_tensor": _ASK_AGAIN,
    "parity_failed": _(
        "The packed model does not answer as the trained one did, so it is not given out. Tell "
        "the operator."
    ),
    "adapter_unchanged": _(
        "The training left the model as it was. Train for more passes, with fewer rows per step, "
        "or with a higher learning rate multiplier."
    ),
    "signing_key": _ASK_AGAIN,
    "signing_key_not_ours": _ASK_AGAIN,
    "public_key": _ASK_AGAIN,
}
# Asking a model.
_ANSWERS: dict[str, Any] = {
    "serving_unavailable": _MODEL_SERVER,
    "shutting_down": _MODEL_SERVER,
    "server_error": _MODEL_SERVER,
    "adapter_not_loaded": _MODEL_SERVER,
    "generation_failed": _("The model failed while answering. Try again."),
    "not_a_number": _(
        "The model's output is no number; its weights are broken. Train again with a lower "
        "learning rate multiplier."
    ),
    "model_evicted": _("The model was deleted, or the right to use it ended, while it answered."),
    "overloaded": _TOO_MANY_ANSWERS,
    "too_many_waiting": _TOO_MANY_ANSWERS,
    "rate_limit_exceeded": _(
        "Your organisation has asked for all the tokens of this minute. Wait a moment; if one "
        "question is too much by itself, shorten it."
    ),
    "request_too_costly": _("This asks for too much at once. Shorten the question."),
    "control_token_in_message": _(
        "A message holds a control token of the base model, such as <|im_end|>. Remove it, or "
        "write it with a space in it."
    ),
    "context_length_exceeded": _("The question is longer than this model can read. Shorten it."),
    "invalid_prompt": _("The question is empty or cannot be read by this model."),
    "invalid_request": _("The model server did not understand the question. Ask in another way."),
    "suffix_unsupported": _(
        "The model server did not understand the question. Ask in another way."
    ),
    "adapter_unsupported": _("This adapter cannot be asked here. Take it away and serve it."),
    "adapter_mismatch": _("This adapter does not fit its base model."),
    "adapter_too_large": _(
        "This adapter is too large to be asked here. Train with a smaller rank."
    ),
    "architecture_unsupported": _BASE_UNUSABLE,
    "base_mismatch": _BASE_UNUSABLE,
    "template_refused": _(
        "The model's chat template refuses this conversation. Leave the system message out."
    ),
    "no_chat_template": _("The base model has no chat template, so it cannot be asked here."),
    "thinking_unsupported": _("Whether this model thinks before it answers cannot be chosen."),
}
# The request itself, whatever was asked for.
_REQUESTS: dict[str, Any] = {
    "not_found": _(
        "The address may be mistyped, what stood here may have been deleted, or you may not "
        "belong to the organisation any more."
    ),
    "internal_error": _("Try again; if it stays, tell the operator when it happened."),
    "database_down": _(
        "Try again in a few seconds, and look first whether what you sent was kept. If it stays, "
        "tell the operator when it happened."
    ),
    "form_expired": _(
        "Its protection against forged requests is missing or too old. Load the page again and "
        "send the form once more; if it stays, allow cookies for this address."
    ),
    "forbidden": _("Ask an owner or admin of your organisation, or the operator of this server."),
    "method_not_allowed": _("This address takes no such request. Start again from its page."),
    "bad_request": _(
        "It does not have the form that this server understands. Check the address, load the page "
        "again and try once more."
    ),
    "unknown_host": _(
        "This server does not answer to this host name. Use a name that it serves, or let the "
        "operator add this one to PRIVATUNE_ALLOWED_HOSTS."
    ),
    "malformed_request": _(
        "It does not have the form that this server understands. Check the address, load the page "
        "again and try once more."
    ),
    "unsupported_content_encoding": _(
        "What was sent is compressed on its way, which this server does not take. Send it plain."
    ),
    "invalid_characters": _(
        "A field holds the character NUL, which is no text. Take it out and send the form again."
    ),
    "invalid_form": _("The form arrived damaged. Load the page again and send it once more."),
    "unreadable_body": _("The form did not arrive whole. Load the page again and try once more."),
    "too_many_fields": _("The form has too many fields or files. Send fewer at a time."),
    "request_too_large": _("What was sent is too large for this address. Send less at a time."),
    "request_too_slow": _(
        "What was sent came too slowly and was not waited for. Use a faster line, or send a large "
        "file in parts by the API."
    ),
    "too_many_streams": _(
        "Too many live views are open. Close a page that watches a job, then load this one again."
    ),
    "too_many_bytes_in_flight": _("Too much is being sent at once. Send fewer files at a time."),
    "too_many_requests_at_once": _(
        "Too many of your requests wait already. Try again in a moment."
    ),
    "server_busy": _("The server is taking in as much as it can hold. Try again in a moment."),
    "rate_limit_exceeded": _(
        "Your organisation's rate limit is reached. Wait a minute, or ask the operator for more."
    ),
    "too_many_requests": _("Too many requests came from here. Wait a minute, then try again."),
}
SENTENCES: dict[str, Any] = {**_TENANTS, **_STORAGE, **_JOBS, **_ANSWERS, **_REQUESTS}


def said(error: Told) -> str:
    """What a refusal tells the person, in their language. An UnknownLayer's sentence has names."""
    told = said_of(error.code, error.message, error.fix)
    return told % error.values if isinstance(error, UnknownLayer) else told


def said_of(code: str, message: str, fix: str | None = None) -> str:
    """The same for an error that was kept as a row: the code's sentence, or its own words when an
    older version wrote a code that is not known any more."""
    known = SENTENCES.get(code)
    return str(known) if known else f"{message} {fix or ''}".strip()


def kept(error: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """An error as a job or a reading keeps it, with what the page says of it under `said`."""
    if not error:
        return None
    told = said_of(str(error.get("code")), str(error.get("message") or ""), error.get("fix"))
    if reason := waits.told(str(error.get("waits_for")), error.get("about") or {}):
        told = gettext("Waiting: %(reason)s The check goes on by itself.") % {"reason": reason}
    if attempts := error.get("attempts"):
        given_up = gettext("Given up; attempts without progress: %(attempts)s.")
        told = f"{told} {given_up % {'attempts': attempts}}"
    line = re.fullmatch(r"line (\d+)", str(error.get("where") or ""))
    where = gettext("line %(line)s") % {"line": line[1]} if line else error.get("where")
    return {**error, "said": told, "where": where}
