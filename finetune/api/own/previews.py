"""/api/v1/files/{id}/preview: a row as a model will see it, before anything is trained."""

from typing import Any, get_args

from drf_spectacular.utils import OpenApiParameter, extend_schema
from pydantic import ValidationError
from rest_framework import serializers
from rest_framework.request import Request

from faults import UserFault
from finetune.api.bodies import query
from finetune.api.own.base import OwnView
from finetune.records.check.codes import Severity
from finetune.records.check.spec import Overflow
from finetune.records.infilling import Cut, Order
from finetune.records.thinking import Asked
from finetune.services.jobs.preview import Wish, preview_row
from tenants.errors import Invalid, NotFound
from tenants.models import StoredFile
from tenants.roles import Scope


class PieceSerializer(serializers.Serializer[Any]):
    ids = serializers.ListField(child=serializers.IntegerField())
    text = serializers.CharField(trim_whitespace=False)
    trained = serializers.BooleanField()
    special = serializers.BooleanField()
    part = serializers.ChoiceField(
        ["prefix", "suffix", "middle"], allow_null=True, help_text="Of a document with a hole."
    )


class RowProblemSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    severity = serializers.ChoiceField(get_args(Severity))
    field = serializers.CharField(allow_null=True)
    message = serializers.CharField()
    fix = serializers.CharField()


class PreviewSerializer(serializers.Serializer[Any]):
    """`sequences`: what the model is shown, token by token; the few that make one character
    together are one piece. `trained`: predicted, and learned from."""

    row = serializers.IntegerField()
    rows = serializers.IntegerField(help_text="Of the file that can be used.")
    model = serializers.CharField()
    max_length = serializers.IntegerField()
    used = serializers.BooleanField(help_text="False: a job would leave the row out, or refuse it.")
    tokens = serializers.IntegerField()
    trained = serializers.IntegerField()
    hidden = serializers.IntegerField(help_text="Tokens that are too many to be shown.")
    sequences = serializers.ListField(child=PieceSerializer(many=True))
    parts = serializers.ListField(
        child=serializers.CharField(),
        help_text="Names of the sequences: the sides of a pair; of a rated answer, good or bad.",
    )
    problems = RowProblemSerializer(many=True)


PARAMETERS = [
    OpenApiParameter("model", str, required=True, description="A base with a licence to train."),
    OpenApiParameter(
        "row",
        {"type": "integer", "minimum": 1, "default": 1},
        description="From 1, of those that can be used.",
    ),
    OpenApiParameter("max_length", {"type": "integer", "minimum": 8}, description="As a job's."),
    OpenApiParameter("overflow", str, enum=get_args(Overflow), description="As a job's."),
    OpenApiParameter("thinking", str, enum=get_args(Asked), description="As a job's."),
    OpenApiParameter(
        "fim", str, enum=get_args(Order), description="A document with a hole, in that order."
    ),
    OpenApiParameter("fim_cut", str, enum=get_args(Cut), description="As a job's; with `fim`."),
]


class FilePreview(OwnView):
    scopes = {"get": Scope.FILES_READ}
    own_scope = True

    @extend_schema(
        parameters=PARAMETERS,
        responses=PreviewSerializer,
        summary="A row as a model will see it: tokens, and which are trained",
    )
    def get(self, request: Request, file_id: str) -> Any:
        key = StoredFile.public.read(file_id)
        if key is None:
            raise NotFound(StoredFile.public.missing, f"No such {StoredFile.public.noun}.")
        found = preview_row(file_id=key, wish=_wish(request), by=self.caller.principal)
        told = {"row": found.wish.row, "rows": found.rows, "model": found.wish.model}
        told |= {"max_length": found.max_length}
        return PreviewSerializer(told | found.preview.model_dump(mode="json")).data


def _wish(request: Request) -> Wish:
    asked = query(request._request, frozenset(each.name for each in PARAMETERS))
    if "model" not in asked:
        raise Invalid("missing_parameter", "`model` is missing.", param="model")
    try:
        return Wish.model_validate_strings(asked)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = str(first["loc"][0])
        raise UserFault(
            "invalid_value", f"{name}: {first['msg']}.", param=name, fix="Correct the value."
        ) from None
