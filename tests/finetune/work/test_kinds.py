"""The table of kinds agrees with the models, with Celery's tasks and with its routes."""

from django.apps import apps

from finetune.models.leased import Leased
from finetune.services.kinds import KINDS
from finetune.states import DatasetState, LeaseState
from finetune.work import nudges
from privatune.celery_app import app


def test_every_leased_table_has_its_kind() -> None:
    leased = {model for model in apps.get_models() if issubclass(model, Leased)}
    assert {kind.model for kind in KINDS} == leased


def test_each_kind_has_its_task_in_its_queue_by_the_names_that_messages_under_way_hold() -> None:
    app.loader.import_default_modules()
    tasks = {nudges.task_of(kind.model): kind.model for kind in KINDS}
    assert set(tasks) == {
        "finetune.tasks.run_job", "finetune.tasks.validate_job", "finetune.tasks.check_dataset",
        "finetune.tasks.evaluate",
        "finetune.tasks.rehearse_job", "finetune.tasks.profile_file", "finetune.tasks.scrub_file",
        "finetune.tasks.mine_file",
        "finetune.tasks.advance_pipeline", "finetune.tasks.make_form",
    }  # fmt: skip
    for name, model in tasks.items():
        assert name in app.tasks
        assert app.amqp.router.route({}, name)["queue"].name == model.queue


def test_a_reading_has_the_states_of_a_lease_under_the_words_of_the_api() -> None:
    shared = set(LeaseState.__members__) - {"CANCELLED"}
    assert shared <= set(DatasetState.__members__)
    assert [str(state) for state in DatasetState] == ["pending", "checking", "ready", "refused"]
