"""/api/v1/jobs/{id}/learning-curve: what more rows would bring."""

import math
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from faults import UserFault
from finetune import selectors
from finetune.api.bodies import query
from finetune.api.own.base import OwnView
from finetune.grading.learning import Outlook
from finetune.services.jobs.curves import told
from tenants.roles import Scope


class CurvePointSerializer(serializers.Serializer[Any]):
    """The validation loss after the same training on so many of the rows."""

    rows = serializers.IntegerField()
    loss = serializers.FloatField()


class CurveAheadSerializer(serializers.Serializer[Any]):
    """At so many times the rows: the loss, and how far it is below today's; medians and 95%."""

    factor = serializers.IntegerField()
    rows = serializers.IntegerField()
    loss = serializers.FloatField()
    interval = serializers.ListField(child=serializers.FloatField(), min_length=2, max_length=2)
    gain = serializers.FloatField()
    gain_interval = serializers.ListField(
        child=serializers.FloatField(), min_length=2, max_length=2
    )


class CurveNeededSerializer(serializers.Serializer[Any]):
    """Rows until the loss is reached; null: not within a thousand times the rows there are."""

    loss = serializers.FloatField()
    rows = serializers.IntegerField(allow_null=True)
    interval = serializers.ListField(
        child=serializers.IntegerField(allow_null=True), min_length=2, max_length=2
    )


class LearningCurveSerializer(serializers.Serializer[Any]):
    """Empty until the job has ended well, and for one that did not ask for a curve."""

    job = serializers.CharField()
    asked = serializers.BooleanField()
    message = serializers.CharField(allow_null=True)
    outlook = serializers.ChoiceField(list(Outlook), allow_null=True)
    points = CurvePointSerializer(many=True)
    ahead = CurveAheadSerializer(many=True)
    needed = CurveNeededSerializer(many=True)


LOSS = OpenApiParameter(
    "loss",
    {"type": "number", "minimum": 0},
    description="Tell the rows that this validation loss would take; default: one that is 5% and "
    "one that is 10% lower than today's.",
)


class JobLearningCurve(OwnView):
    scopes = {"get": Scope.JOBS_READ}

    @extend_schema(
        parameters=[LOSS],
        responses=LearningCurveSerializer,
        summary="What twice and four times the rows would bring, and how many a loss would take",
    )
    def get(self, request: Request, job_id: str) -> Any:
        asked = query(request._request, frozenset({LOSS.name})).get(LOSS.name)
        job = selectors.find(selectors.jobs(), job_id)
        found = told(job, loss=None if asked is None else _loss(asked))
        return LearningCurveSerializer(found).data


def _loss(text: str) -> float:
    try:
        loss = float(text)
    except ValueError:
        loss = math.nan
    if not 0 <= loss < math.inf:
        raise UserFault("invalid_value", "`loss` must be a number from 0 on.", param="loss")
    return loss
