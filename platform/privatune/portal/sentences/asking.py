"""Asking a model, and the request itself, whatever was asked for."""

from typing import Any

from django.utils.translation import gettext_lazy as _

from privatune.portal.sentences.common import BASE_UNUSABLE, MODEL_SERVER, TOO_MANY_ANSWERS

ANSWERS: dict[str, Any] = {
    "serving_unavailable": MODEL_SERVER,
    "shutting_down": MODEL_SERVER,
    "server_error": MODEL_SERVER,
    "adapter_not_loaded": MODEL_SERVER,
    "generation_failed": _("The model failed while answering. Try again."),
    "not_a_number": _(
        "The model's output is no number; its weights are broken. Train again with a lower "
        "learning rate multiplier."
    ),
    "model_evicted": _("The model was deleted, or the right to use it ended, while it answered."),
    "overloaded": TOO_MANY_ANSWERS,
    "too_many_waiting": TOO_MANY_ANSWERS,
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
    "model_ranks": _(
        "This model scores documents beside a query and writes nothing. Ask another one."
    ),
    "model_does_not_rank": _("This model does not rank documents. Name a reranker."),
    "model_embeds": _("This model makes vectors of texts and writes none. Ask another one."),
    "model_scores": _(
        "This is a reward model: it scores answers and writes none. Choose another one, or the "
        "method for reward models."
    ),
    "not_a_reward_model": _(
        "This model writes, and has no head that scores. Name a reward model in a grader of the "
        "type reward_model."
    ),
    "model_writes": _("This model writes text and makes no vectors. Name an embedding model."),
    "invalid_prompt": _("The question is empty or cannot be read by this model."),
    "invalid_request": _("The model server did not understand the question. Ask in another way."),
    "cannot_infill": _(
        "This base model has no control tokens for filling in the middle. Choose one for code."
    ),
    "no_document": _("Only documents are trained with a hole. Look at a file of documents."),
    "adapter_unsupported": _("This adapter cannot be asked here. Take it away and serve it."),
    "adapter_mismatch": _("This adapter does not fit its base model."),
    "adapter_too_large": _(
        "This adapter is too large to be asked here. Train with a smaller rank."
    ),
    "architecture_unsupported": BASE_UNUSABLE,
    "base_mismatch": BASE_UNUSABLE,
    "template_refused": _(
        "The model's chat template refuses this conversation. Leave the system message out."
    ),
    "no_chat_template": _("The base model has no chat template, so it cannot be asked here."),
    "thinking_unsupported": _("Whether this model thinks before it answers cannot be chosen."),
}

REQUESTS: dict[str, Any] = {
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
