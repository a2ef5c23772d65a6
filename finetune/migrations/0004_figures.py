"""Takes the customers' words out of the rows: reports keep their figures, errors our own sentences.

Nothing is lost: the problems of every reading also lie in its `errors_object`, in the vault.
"""

from typing import Any

from django.db import migrations

TITLES = {  # as finetune.records.check.codes had them at this migration, for jobs that failed
    "template_refused": "The base's chat template refuses the conversation.",
    "template_drops_content": "The base's chat template leaves out a part of the row.",
    "bad_tool_arguments": "The arguments of a tool call are not a JSON object.",
    "bad_json": "The line is not JSON.",
}
DROPPED = ("problems", "source_name")


def figures(report: dict[str, Any]) -> dict[str, Any]:
    errors = [each for each in report.get("problems", []) if each.get("severity") == "error"]
    first = {"code": errors[0]["code"], "line": errors[0].get("line")} if errors else None
    kept = {name: value for name, value in report.items() if name not in DROPPED}
    return {"first_error": first} | kept


def sentence(report: dict[str, Any]) -> str:
    counts = ", ".join(f"{code} ({n})" for code, n in report.get("problem_counts", {}).items())
    first = report.get("first_error") or {}
    where = f"line {first['line']}: " if first.get("line") else ""
    return f"{where}the file cannot be trained on. Found: {counts}."


def forget(apps: Any, schema_editor: Any) -> None:
    alias = schema_editor.connection.alias
    datasets = apps.get_model("finetune", "Dataset").objects.using(alias)
    for dataset in datasets.iterator(chunk_size=100):
        report, error = dataset.report, dataset.error
        if report is not None:
            report = figures(report)
        if error is not None and error.get("code") == "check_crashed":
            error = error | {"message": "The check ended early.", "where": None}
        if (report, error) != (dataset.report, dataset.error):
            datasets.filter(id=dataset.id).update(report=report, error=error)
    _forget_of_files(apps, alias)
    _forget_of_jobs(apps, alias)


def _forget_of_files(apps: Any, alias: str) -> None:
    files = apps.get_model("tenants", "StoredFile").objects.using(alias)
    datasets = apps.get_model("finetune", "Dataset").objects.using(alias)
    for file in files.exclude(status_details=None).iterator(chunk_size=100):
        reading = datasets.filter(file_id=file.id, base=None).exclude(report=None).first()
        if reading is not None:
            files.filter(id=file.id).update(status_details=sentence(reading.report))


def _forget_of_jobs(apps: Any, alias: str) -> None:
    jobs = apps.get_model("finetune", "Job").objects.using(alias)
    events = apps.get_model("finetune", "Event").objects.using(alias)
    for job in jobs.exclude(error=None).iterator(chunk_size=100):
        message = _message(job)
        if message is None:
            continue
        error = job.error | {"message": message}
        jobs.filter(id=job.id).update(error=error)
        events.filter(job_id=job.id, level="error").update(message=f"The job failed: {message}")


def _message(job: Any) -> str | None:
    code = job.error.get("code") or ""
    if code in ("invalid_training_file", "invalid_validation_file"):
        which = code.removeprefix("invalid_").removesuffix("_file")
        reading = getattr(job, f"{which}_data")
        found = sentence(reading.report) if reading is not None and reading.report else ""
        return f"The {which} file cannot be used. {found}".strip()
    return TITLES.get(code)


class Migration(migrations.Migration):
    dependencies = [("finetune", "0003_due"), ("tenants", "0004_actors")]

    operations = [migrations.RunPython(forget, migrations.RunPython.noop)]
