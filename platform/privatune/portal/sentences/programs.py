"""What no page can meet, and a program that asks in another language can."""

from typing import Any

from django.utils.translation import gettext_lazy as _

NOT_FOUND = _("There is no such thing, or it is not yours.")

PROGRAMS: dict[str, Any] = {
    "address_not_allowed": _("The key may not be used from this address."),
    "line_of_keys_too_long": _("Keys that made keys: no more may be made in this line."),
    "invalid_api_key": _("The key is wrong, expired or revoked. Use one that is valid."),
    "not_authenticated": _("There is no key. Send one in the header Authorization."),
    "invalid_json": _("The body is no JSON as it should be. Mend it at the place that is named."),
    "parse_error": _("The body cannot be read. Mend it."),
    "form_expected": _("The body has to be a form (multipart/form-data)."),
    "unsupported_media_type": _("The body's type is not taken at this address."),
    "not_acceptable": _("The answer cannot be given in the form that is asked for."),
    "missing_parameter": _("A parameter is missing. Give it."),
    "missing_required_parameter": _("A parameter is missing. Give it."),
    "unknown_parameter": _("There is no such parameter. Leave it out."),
    "unsupported_method": _("There is no such training method here."),
    "unsupported_content": _("A message has content that is not text, which no model here takes."),
    "invalid_expires_after": _("The time after which the file is deleted is none that is allowed."),
    "invalid_idempotency_key": _("The Idempotency-Key is none: 1 to 255 visible characters."),
    "idempotency_key_reused": _(
        "The Idempotency-Key came with another request before. Use a new one."
    ),
    "base_model_not_deletable": _("A base model cannot be deleted; only your own models can."),
    "embeddings_not_offered": _("No model here makes embeddings."),
    "calls_unsupported": _(
        "The model's template writes no calls that could be forced. Leave tool_choice at auto."
    ),
    "compiler_lost": _("What reads schemas was ended. Try again in a moment."),
    "invalid_schema": _("The schema is none. Mend it at the place that is named."),
    "schema_too_large": _("The schema is too large. Ask for less."),
    "schema_too_complex": _("The schema is too complex. Make it simpler."),
    "schema_unsupported": _("The schema has a keyword that cannot be held to. Leave it out."),
    "no_such_range": _("There are no such bytes. Ask for the whole."),
    "no_errors_file": _("There is no list of problems for this reading."),
    "upload_not_pending": _("The upload is ended already."),
    "upload_size_mismatch": _("The parts have another size than was said."),
    "upload_too_many_bytes": _("The parts have more bytes than was said."),
    "invalid_part_ids": _("The parts that are named are not those of the upload."),
    "license_exists": _("The organisation has a licence to this model already."),
    "license_over": _("The licence is over. Issue a new one."),
    "license_revoked": _("The licence was revoked. Issue a new one."),
}
