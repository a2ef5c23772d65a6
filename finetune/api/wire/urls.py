"""The addresses of OpenAI's wire, below /v1/."""

from django.urls import path

from finetune.api.wire import (
    chat,
    completions,
    embeddings,
    eval_items,
    eval_runs,
    evals,
    files,
    graders,
    jobs,
    models,
    responses,
    uploads,
)

urlpatterns = [
    path("files", files.Files.as_view()),
    path("files/<str:file_id>", files.File.as_view()),
    path("files/<str:file_id>/content", files.FileContent.as_view()),
    path("uploads", uploads.Uploads.as_view()),
    path("uploads/<str:upload_id>/parts", uploads.Parts.as_view()),
    path("uploads/<str:upload_id>/complete", uploads.Complete.as_view()),
    path("uploads/<str:upload_id>/cancel", uploads.Cancel.as_view()),
    path("fine_tuning/jobs", jobs.Jobs.as_view()),
    path("fine_tuning/jobs/<str:job_id>", jobs.OneJob.as_view()),
    path("fine_tuning/jobs/<str:job_id>/cancel", jobs.Cancel.as_view()),
    path("fine_tuning/jobs/<str:job_id>/pause", jobs.Pause.as_view()),
    path("fine_tuning/jobs/<str:job_id>/resume", jobs.Resume.as_view()),
    path("fine_tuning/jobs/<str:job_id>/events", jobs.Events.as_view()),
    path("fine_tuning/jobs/<str:job_id>/checkpoints", jobs.Checkpoints.as_view()),
    path("fine_tuning/alpha/graders/run", graders.Run.as_view()),
    path("fine_tuning/alpha/graders/validate", graders.Validate.as_view()),
    path("models", models.Models.as_view()),
    path("models/<str:model>", models.OneModel.as_view()),
    path("chat/completions", chat.ChatCompletions.as_view()),
    path("completions", completions.Completions.as_view()),
    path("responses", responses.Responses.as_view()),
    path("evals", evals.Evals.as_view()),
    path("evals/<str:eval_id>", evals.OneEval.as_view()),
    path("evals/<str:eval_id>/runs", eval_runs.Runs.as_view()),
    path("evals/<str:eval_id>/runs/<str:run_id>", eval_runs.OneRun.as_view()),
    path("evals/<str:eval_id>/runs/<str:run_id>/cancel", eval_runs.CancelRun.as_view()),
    path("evals/<str:eval_id>/runs/<str:run_id>/output_items", eval_items.OutputItems.as_view()),
    path(
        "evals/<str:eval_id>/runs/<str:run_id>/output_items/<str:item_id>",
        eval_items.OneOutputItem.as_view(),
    ),
    path("embeddings", embeddings.Embeddings.as_view()),
]
