"""The addresses of our own API, below /api/v1/."""

from django.urls import path

from finetune.api.own import (
    artifacts,
    audit,
    catalog,
    datasets,
    docs,
    invitations,
    keys,
    licences,
    members,
    previews,
    signing_key,
    support,
    usage,
)

urlpatterns = [
    path("artifacts", artifacts.Artifacts.as_view()),
    path("artifacts/<str:artifact_id>", artifacts.OneArtifact.as_view()),
    path("artifacts/<str:artifact_id>/content", artifacts.Bundle.as_view()),
    path("audit", audit.Audit.as_view()),
    path("audit/check", audit.AuditCheck.as_view()),
    path("audit/export", audit.AuditExport.as_view()),
    path("catalog", catalog.Catalog.as_view()),
    path("catalog/<str:name>", catalog.OneCatalogModel.as_view()),
    path("datasets", datasets.Datasets.as_view()),
    path("datasets/<str:dataset_id>", datasets.OneDataset.as_view()),
    path("datasets/<str:dataset_id>/errors", datasets.DatasetErrors.as_view()),
    path("files/<str:file_id>/preview", previews.FilePreview.as_view()),
    path("invitations", invitations.Invitations.as_view()),
    path("invitations/<str:invitation_id>", invitations.OneInvitation.as_view()),
    path("keys", keys.Keys.as_view()),
    path("keys/<str:key_id>", keys.OneKey.as_view()),
    path("keys/<str:key_id>/rotate", keys.Rotation.as_view()),
    path("licences", licences.Licences.as_view()),
    path("licences/<str:licence_id>", licences.OneLicence.as_view()),
    path("members", members.Members.as_view()),
    path("members/<str:member_id>", members.OneMember.as_view()),
    path("signing-key", signing_key.SigningKey.as_view()),
    path("support-access", support.SupportAccess.as_view()),
    path("usage", usage.Usage.as_view()),
    path("schema", docs.Schema.as_view(), name="api-schema"),
    path("docs", docs.Docs.as_view(), name="api-docs"),
]
