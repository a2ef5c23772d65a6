"""/api/v1/files/{id}/versions: which file was made of which."""

from typing import Any

from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema, inline_serializer
from rest_framework.request import Request

from finetune import selectors
from finetune.api.own.base import OwnView
from finetune.api.own.minings import MiningSerializer
from finetune.api.own.scrubs import ScrubSerializer
from finetune.models import Scrub
from finetune.services.files.versions import Version, versions_of
from tenants.roles import Scope

VERSIONS = inline_serializer(
    "Versions",
    {
        "data": PolymorphicProxySerializer(
            component_name="Version",
            serializers=[ScrubSerializer, MiningSerializer],
            resource_type_field_name=None,
            many=True,
        )
    },
)


class FileVersions(OwnView):
    scopes = {"get": Scope.FILES_READ}

    @extend_schema(
        responses=VERSIONS,
        summary="Scrubs and minings that lead to a file and on from it, oldest first",
    )
    def get(self, request: Request, file_id: str) -> Any:
        file = selectors.find(selectors.files(), file_id)
        return {"data": [_shown(each) for each in versions_of(file)]}


def _shown(version: Version) -> Any:
    if isinstance(version, Scrub):
        return ScrubSerializer(version).data
    return MiningSerializer(version).data
