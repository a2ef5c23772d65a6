"""Addresses as people type and paste them: with the id that the API and the command line show, and
with or without a slash at the end."""

from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls.converters import UUIDConverter

from tenants import public_ids
from tenants.public_ids import PublicId


class _Id(UUIDConverter):
    """The row's UUID, or its public id, `ftjob-...`."""

    public: PublicId
    regex = "[A-Za-z0-9_-]+"

    def to_python(self, value: str) -> UUID:
        return self.public.read(value) or super().to_python(value)


class FileId(_Id):
    public = public_ids.FILE


class JobId(_Id):
    public = public_ids.JOB


class ModelId(_Id):
    public = public_ids.ARTIFACT


class PipelineId(_Id):
    public = public_ids.PIPELINE


class EvaluationId(_Id):
    public = public_ids.EVALUATION


def without_slash(request: HttpRequest, **_kept: Any) -> HttpResponse:
    """Leads from `.../settings/` to `.../settings`. Raises Http404 for what is sent there."""
    if request.method not in ("GET", "HEAD"):
        raise Http404
    path, query = request.path.rstrip("/"), request.META.get("QUERY_STRING", "")
    return redirect(f"{path}?{query}" if query else path)
