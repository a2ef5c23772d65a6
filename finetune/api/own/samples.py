"""/api/v1/jobs/{id}/samples: what a model that learns from rewards wrote, step by step."""

import re
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request

from faults import UserFault
from finetune import selectors
from finetune.api.bodies import query
from finetune.api.own.base import OwnView
from finetune.api.paging import whole_number
from finetune.services.jobs.samples import LARGEST_STEP, Place, samples_of
from tenants.roles import Scope

PLACE = re.compile(r"([1-9][0-9]{0,9})-([1-9][0-9]{0,2})", re.ASCII)


class SampleSerializer(serializers.Serializer[Any]):
    """An answer that the model has drawn, what it earned, and what the step made of that."""

    id = serializers.SerializerMethodField(help_text="Its step, and its number there.")
    step = serializers.IntegerField(help_text="The first that learns from it.")
    row = serializers.IntegerField(help_text="Of the training data, from 1: the prompt's.")
    text = serializers.CharField(trim_whitespace=False)
    reasoning = serializers.CharField(trim_whitespace=False)
    tool_calls = serializers.ListField(child=serializers.JSONField())
    shortened = serializers.BooleanField(help_text="There was more of it than is kept.")
    tokens = serializers.IntegerField()
    truncated = serializers.BooleanField(
        help_text="It was cut off at `max_completion_tokens`, before it had ended."
    )
    reward = serializers.FloatField()
    scores = serializers.DictField(
        child=serializers.FloatField(), help_text="By part of a grader that has several."
    )
    grader_errors = serializers.DictField(
        child=serializers.CharField(trim_whitespace=False), help_text="By kind."
    )
    advantage = serializers.FloatField(
        help_text="Above 0: the step makes it likelier than its prompt's others."
    )

    def get_id(self, sample: dict[str, Any]) -> str:
        return f"{sample['step']}-{sample['number']}"


SAMPLES = inline_serializer(
    "Samples", {"data": SampleSerializer(many=True), "has_more": serializers.BooleanField()}
)
PARAMETERS = [
    OpenApiParameter(
        "step", {"type": "integer", "minimum": 1}, description="Only this one's; default all."
    ),
    OpenApiParameter("after", str, description="Id of the last answer of the page before."),
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
        description="Answers on a page.",
    ),
]


class JobSamples(OwnView):
    scopes = {"get": Scope.JOBS_READ}  # and, as the service asks, to read files

    @extend_schema(
        parameters=PARAMETERS,
        responses=SAMPLES,
        summary="Some of the answers that a training by rewards learns from, the newest step first",
    )
    def get(self, request: Request, job_id: str) -> dict[str, Any]:
        asked = query(request._request, frozenset(each.name for each in PARAMETERS))
        limit = whole_number(asked.get("limit", "20"), "limit", least=1, most=100)
        step, after = asked.get("step"), asked.get("after")
        found = samples_of(
            job=selectors.find(selectors.jobs(), job_id),
            by=self.caller.principal,
            step=None if step is None else whole_number(step, "step", least=1, most=LARGEST_STEP),
            after=None if after is None else _place(after),
            limit=limit + 1,
        )
        return {
            "data": SampleSerializer(found[:limit], many=True).data,
            "has_more": len(found) > limit,
        }


def _place(text: str) -> Place:
    found = PLACE.fullmatch(text)
    if found is None or int(found[1]) > LARGEST_STEP:
        raise UserFault(
            "invalid_value",
            "`after` must be the id of an answer, like 12-3.",
            param="after",
        )
    return Place(int(found[1]), int(found[2]))
