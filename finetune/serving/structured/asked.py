"""The constraint that a request puts on its answers."""

from finetune.serving.bases import Base
from finetune.serving.protocol import GenerateRequest
from finetune.serving.structured import forms
from finetune.serving.structured.grammar import Constraint


def constraint_of(base: Base, request: GenerateRequest) -> Constraint | None:
    """To be forked for each choice; takes up to a second, so never in the model thread.

    Raises UserFault `schema_unsupported`, `invalid_schema`, `schema_too_large`,
    `schema_too_complex`, each with its place as `param`.
    """
    if request.form is None:
        return None
    source = forms.of_schema(request.form.json_schema, request.form.place)
    return base.grammars.compile(source, request.form.place)
