"""What older versions wrote into histories gets the codes of today, by a migration."""

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from finetune.events import MESSAGES, Message, read
from finetune.models import Event
from finetune.services.jobs.steps import take_over
from tenants.database.scope import tenant_scope
from tests.fixtures.jobs import new_bench

migration = import_module("finetune.migrations.0013_event_codes")
TEXTS = {
    "role": "training", "precision": "fp32", "run": "r", "isolation": "none", "loss": "nan",
    "grad_norm": "1.5e+03", "reason": "It broke. (x)", "was": {}, "now": {}, "n_epochs": 1,
}  # fmt: skip


def example(kind: type[Message]) -> Message:
    values = {n: TEXTS.get(n, "7") for n, field in kind.model_fields.items() if field.is_required()}
    return kind.model_validate(values)


# What was said before there were codes; later messages have always had theirs
OLD = {code: MESSAGES[code] for code, _ in migration.FORMS} | {"step_done": MESSAGES["step_done"]}


# Where today's words are others than the migration met.
SAID_THEN = {
    "warmup_shortened": "The warm-up was to take all {steps} steps; the last one has the full "
    "rate.",
    "one_epoch_chosen": "n_epochs: 1: {rows} rows ({trained_tokens} trained tokens) are seen once; "
    "fewer rows are seen more often.",
    "n_epochs_chosen": "n_epochs: {n_epochs}: {rows} rows ({trained_tokens} trained tokens) are "
    "seen {n_epochs} times; fewer rows are seen more often.",
}


def told_then(said: Message) -> str:
    return said.told(SAID_THEN.get(said.code, said.form()))


@pytest.mark.parametrize("kind", OLD.values(), ids=OLD)
def test_the_words_of_every_code_are_told_apart(kind: type[Message]) -> None:
    if kind.code == "step_done":  # by the event's type
        return
    said = example(kind)
    code, params = migration.told_apart(told_then(said))
    if kind.code == "n_epochs_chosen":
        assert code == "one_epoch_chosen"  # 1, as in the example
        code, params = migration.told_apart(told_then(said.model_copy(update={"n_epochs": 3})))
        assert params.pop("n_epochs") == 3
    assert code == kind.code
    assert params.items() <= said.params.items()


@pytest.mark.usefixtures("committed")
def test_old_events_get_codes_and_lose_nothing(tiny_base: Path) -> None:
    bench = new_bench(tiny_base)
    job = bench.create()
    old = [
        {"type": "metrics", "message": "Step 1/2", "data": {"step": 1, "total_steps": 2}},
        {"message": "Validated 8 of 9 rows.", "data": {"rows": 8}},
        {"message": "Something of long ago.", "data": {"x": 1}},
    ]
    with tenant_scope(bench.tenant.id):
        before = job.events_count
        take_over(job, old)
    owner = connections["owner"]
    state = MigrationExecutor(owner).loader.project_state()
    migration.give_codes(state.apps, SimpleNamespace(connection=owner))
    with tenant_scope(bench.tenant.id):
        metrics, validated, unknown = Event.objects.filter(job=job, seq__gt=before).order_by("seq")
    assert (metrics.code, metrics.data) == ("step_done", {"step": 1, "total_steps": 2})
    assert (validated.code, validated.data) == ("validation_goes_on", {"rows": 8, "of": 9})
    assert read(validated.code, validated.data) is not None
    assert (unknown.code, unknown.data) == ("", {"x": 1})
    assert unknown.message == "Something of long ago."
