"""The rooms of the portal. Each stands under its organisation's address: `/t/<slug>/...`."""

from django.urls import include, path, register_converter

from privatune.portal.access import organisations
from privatune.portal.addresses import (
    EvaluationId,
    FileId,
    JobId,
    ModelId,
    PipelineId,
    without_slash,
)
from privatune.portal.invitation import invitation
from privatune.portal.rooms import (
    audit,
    chat,
    evaluations,
    files,
    forms,
    home,
    jobs,
    keys,
    members,
    minings,
    models,
    pipelines,
    preview,
    profiles,
    samples,
    settings,
)

register_converter(EvaluationId, "evaluation")
register_converter(FileId, "file")
register_converter(JobId, "job")
register_converter(ModelId, "model")
register_converter(PipelineId, "pipeline")

app_name = "portal"
rooms = [
    path("", home.home, name="home"),
    path("files/", files.index, name="files"),
    path("files/upload", files.upload, name="upload"),
    path("files/<file:file_id>/", files.detail, name="file"),
    path("files/<file:file_id>/delete", files.delete, name="file-delete"),
    path("files/<file:file_id>/problems/<uuid:dataset_id>", files.errors, name="file-problems"),
    path("files/<file:file_id>/columns", files.columns, name="file-columns"),
    path("files/<file:file_id>/preview", preview.preview, name="file-preview"),
    path("files/<file:file_id>/profile", profiles.ask, name="file-profile"),
    path("files/<file:file_id>/scrub", profiles.scrub, name="file-scrub"),
    path("files/<file:file_id>/mine", minings.mine, name="file-mine"),
    path(
        "files/<file:file_id>/minings/<uuid:mining_id>/cancel",
        minings.cancel,
        name="file-mining-cancel",
    ),
    path(
        "files/<file:file_id>/findings/<uuid:profile_id>",
        profiles.findings,
        name="file-findings",
    ),
    path("files/<file:file_id>/changes/<uuid:scrub_id>", profiles.changes, name="file-changes"),
    path("jobs/", jobs.index, name="jobs"),
    path("jobs/new", jobs.new, name="job-new"),
    path("jobs/<job:job_id>/", jobs.detail, name="job"),
    path("jobs/<job:job_id>/curve", jobs.curve, name="job-curve"),
    path("jobs/<job:job_id>/samples", samples.samples, name="job-samples"),
    path("jobs/<job:job_id>/stream", jobs.stream, name="job-stream"),
    path("jobs/<job:job_id>/cancel", jobs.act, {"verb": "cancel"}, name="job-cancel"),
    path("jobs/<job:job_id>/pause", jobs.act, {"verb": "pause"}, name="job-pause"),
    path("jobs/<job:job_id>/resume", jobs.act, {"verb": "resume"}, name="job-resume"),
    path("pipelines/", pipelines.index, name="pipelines"),
    path("pipelines/new", pipelines.new, name="pipeline-new"),
    path("pipelines/<pipeline:pipeline_id>/", pipelines.detail, name="pipeline"),
    path(
        "pipelines/<pipeline:pipeline_id>/cancel",
        pipelines.act,
        {"verb": "cancel"},
        name="pipeline-cancel",
    ),
    path(
        "pipelines/<pipeline:pipeline_id>/pause",
        pipelines.act,
        {"verb": "pause"},
        name="pipeline-pause",
    ),
    path(
        "pipelines/<pipeline:pipeline_id>/resume",
        pipelines.act,
        {"verb": "resume"},
        name="pipeline-resume",
    ),
    path(
        "pipelines/<pipeline:pipeline_id>/approve",
        pipelines.act,
        {"verb": "approve"},
        name="pipeline-approve",
    ),
    path(
        "pipelines/<pipeline:pipeline_id>/retry",
        pipelines.act,
        {"verb": "retry"},
        name="pipeline-retry",
    ),
    path("models/", models.index, name="models"),
    path("models/<model:artifact_id>/", models.detail, name="model"),
    path("models/<model:artifact_id>/download", models.download, name="model-download"),
    path("models/<model:artifact_id>/forms", forms.ask, name="model-form-ask"),
    path("models/<model:artifact_id>/forms/<uuid:form_id>", forms.download, name="model-form"),
    path(
        "models/<model:artifact_id>/forms/<uuid:form_id>/cancel",
        forms.cancel,
        name="model-form-cancel",
    ),
    path(
        "models/<model:artifact_id>/forms/<uuid:form_id>/delete",
        forms.delete,
        name="model-form-delete",
    ),
    path("models/<model:artifact_id>/chat", chat.chat, name="model-chat"),
    path("models/<model:artifact_id>/release", models.release, name="model-release"),
    path("evaluations/", evaluations.index, name="evaluations"),
    path("evaluations/new", evaluations.new, name="evaluation-new"),
    path("evaluations/<evaluation:evaluation_id>/", evaluations.detail, name="evaluation"),
    path(
        "evaluations/<evaluation:evaluation_id>/items",
        evaluations.download,
        name="evaluation-items",
    ),
    path(
        "evaluations/<evaluation:evaluation_id>/cancel",
        evaluations.cancel,
        name="evaluation-cancel",
    ),
    path(
        "evaluations/<evaluation:evaluation_id>/delete",
        evaluations.delete,
        name="evaluation-delete",
    ),
    path("licences/", home.licences, name="licences"),
    path("members/", members.index, name="members"),
    path("keys/", keys.index, name="keys"),
    path("audit/", audit.index, name="audit"),
    path("audit/export", audit.export, name="audit-export"),
    path("settings", settings.settings, name="settings"),
]
with_slash = [
    path(f"{room.pattern}/", without_slash)
    for room in rooms
    if str(room.pattern) and not str(room.pattern).endswith("/")
]
urlpatterns = [
    path("", organisations, name="organisations"),
    path("invitation/<str:token>", invitation, name="invitation"),
    path("t/<slug:slug>/", include([*rooms, *with_slash])),
]
