"""/v1/fine_tuning/jobs, by the unmodified openai client."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.utils import timezone
from openai import BadRequestError, NotFoundError, PermissionDeniedError, RateLimitError

from finetune.events import LossRose
from finetune.models import Artifact, Job
from finetune.states import JobState
from tenants.database.scope import tenant_scope
from tenants.models import LicenseState
from tenants.services.licences import change_license, issue_license
from tests.finetune.api.customers import Customer, chat_rows, new_customer, strict
from tests.finetune.api.rows import give_checkpoint, give_event, give_result


def test_a_job_is_created_with_every_parameter_and_told_back(
    customer: Customer, training_file: str
) -> None:
    client = customer.client()
    job = client.fine_tuning.jobs.create(
        model="tiny",
        training_file=training_file,
        validation_file=training_file,
        method={
            "type": "supervised",
            "supervised": {
                "hyperparameters": {
                    "n_epochs": 2,
                    "batch_size": "auto",
                }
            },
        },
        suffix="my-model",
        seed=7,
        metadata={"team": "a", "run": "1"},
        extra_body={
            "adapter": {"r": 8, "alpha": 16, "dropout": 0.1, "use_dora": True},
            "max_length": 64,
            "packing": True,
            "overflow": "drop",
            "thinking": "off",
            "gradient_checkpointing": True,
            "micro_batch_tokens": 4096,
            "stability": "off",
            "optimizer": {"learning_rate": 1e-4, "schedule": "linear", "loraplus_lr_ratio": 16},
            "neftune_noise_alpha": 5,
            "evaluation": {"every_steps": 5, "keep": "best"},
            "auto_start": False,
        },
    )
    strict(job)
    assert job.status == "validating_files"
    assert job.error is None
    assert job.result_files == []
    assert (job.model, job.seed, job.metadata) == ("tiny", 7, {"team": "a", "run": "1"})
    assert job.method is not None
    assert job.method.supervised is not None
    assert job.method.supervised.hyperparameters is not None
    assert job.method.supervised.hyperparameters.n_epochs == 2
    assert job.hyperparameters.batch_size == "auto"
    assert job.training_file == job.validation_file == training_file
    with tenant_scope(customer.tenant_id):
        asked = Job.objects.get(suffix="my-model").requested
    assert asked["adapter"] == {"r": 8, "alpha": 16, "dropout": 0.1, "use_dora": True}
    assert (asked["max_length"], asked["packing"], asked["overflow"]) == (64, True, "drop")
    assert (asked["thinking"], asked["auto_start"]) == ("off", False)
    assert (asked["gradient_checkpointing"], asked["micro_batch_tokens"]) == (True, 4096)
    assert asked["stability"] == "off"
    assert asked["optimizer"] == {
        "learning_rate": 1e-4, "schedule": "linear", "loraplus_lr_ratio": 16
    }  # fmt: skip
    assert asked["neftune_noise_alpha"] == 5
    assert asked["evaluation"] == {"every_steps": 5, "keep": "best"}
    events = client.fine_tuning.jobs.list_events(job.id)
    for event in events:
        strict(event)
    first = list(events)[-1]
    assert first.message == f"Created fine-tuning job: {job.id}"
    assert (first.model_extra, first.data) == ({"code": "job_created"}, {"job": job.id})


def test_the_deprecated_hyperparameters_still_work(customer: Customer, training_file: str) -> None:
    job = customer.client().fine_tuning.jobs.create(
        model="tiny", training_file=training_file, hyperparameters={"n_epochs": 3}
    )
    strict(job)
    assert job.hyperparameters.n_epochs == 3


BAD: list[tuple[dict[str, Any], str]] = [
    ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
    ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs"),
    ({"hyperparameters": {"n_epochs": "3"}}, "hyperparameters.n_epochs"),
    ({"hyperparameters": {"n_epochs": True}}, "hyperparameters.n_epochs"),
    ({"hyperparameters": {"batch_size": 257}}, "hyperparameters.batch_size"),
    ({"hyperparameters": {"batch_size": 1.5}}, "hyperparameters.batch_size"),
    (
        {"hyperparameters": {"learning_rate_multiplier": 0}},
        "hyperparameters.learning_rate_multiplier",
    ),
    (
        {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 99}}}},
        "method.supervised.hyperparameters.n_epochs",
    ),
    (
        {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0}}}},
        "method.dpo.hyperparameters.beta",
    ),
    ({"method": {"type": "reinforcement"}}, "method.reinforcement.grader"),
    ({"method": {"type": "ppo"}}, "method.type"),
    ({"suffix": ""}, "suffix"),
    ({"suffix": "x" * 65}, "suffix"),
    ({"suffix": "a\u200bb"}, "suffix"),
    ({"seed": -1}, "seed"),
    ({"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
    ({"metadata": {"k": "x" * 513}}, "metadata.k"),
    ({"metadata": {"k": 1}}, "metadata.k"),
    ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations"),
    ({"extra_body": {"adapter": {"r": 0}}}, "adapter.r"),
    ({"extra_body": {"adapter": {"rank": 8}}}, "adapter.rank"),
    ({"extra_body": {"adapter": {"targets": ["zzz"]}}}, "adapter.targets"),
    ({"extra_body": {"adapter": {"targets": []}}}, "adapter.targets"),
    ({"extra_body": {"adapter": {"targets": "q_proj"}}}, "adapter.targets"),
    ({"extra_body": {"max_length": 0}}, "max_length"),
    ({"extra_body": {"overflow": "ignore"}}, "overflow"),
    ({"extra_body": {"thinking": "maybe"}}, "thinking"),
    ({"extra_body": {"stability": "on"}}, "stability"),
    ({"extra_body": {"adapter": {"init_lora_weights": "eva"}}}, "adapter.init_lora_weights"),
    ({"extra_body": {"adapter": {"init_lora_weights": True}}}, "adapter.init_lora_weights"),
    ({"extra_body": {"adapter": {"init_lora_weights": "olora", "r": 512}}}, "adapter.r"),
    ({"extra_body": {"optimizer": {"loraplus_lr_ratio": 0.5}}}, "optimizer.loraplus_lr_ratio"),
    ({"extra_body": {"validation_split": 0}}, "validation_split"),
    ({"extra_body": {"training_files": []}}, "training_files"),
    ({"extra_body": {"validation_split": 0.6}}, "validation_split"),
    ({"extra_body": {"validation_split": "a tenth"}}, "validation_split"),
    ({"extra_body": {"learning_curve": "yes"}}, "learning_curve"),
    ({"extra_body": {"neftune_noise_alpha": -1}}, "neftune_noise_alpha"),
    ({"extra_body": {"neftune_noise_alpha": 1001}}, "neftune_noise_alpha"),
    ({"extra_body": {"neftune_noise_alpha": "auto"}}, "neftune_noise_alpha"),
    ({"extra_body": {"optimizer": {"learning_rate": 0}}}, "optimizer.learning_rate"),
    ({"extra_body": {"optimizer": {"learning_rate": 1.5}}}, "optimizer.learning_rate"),
    ({"extra_body": {"optimizer": {"schedule": "step"}}}, "optimizer.schedule"),
    ({"extra_body": {"optimizer": {"warmup_ratio": -0.1}}}, "optimizer.warmup_ratio"),
    ({"extra_body": {"optimizer": {"weight_decay": 2}}}, "optimizer.weight_decay"),
    ({"extra_body": {"optimizer": {"max_grad_norm": 0}}}, "optimizer.max_grad_norm"),
    ({"extra_body": {"optimizer": {"momentum": 0.9}}}, "optimizer.momentum"),
    (
        {
            "method": {
                "type": "supervised",
                "supervised": {"hyperparameters": {"learning_rate_multiplier": 2}},
            },
            "extra_body": {"optimizer": {"learning_rate": 1e-4}},
        },
        "optimizer.learning_rate",
    ),
    ({"extra_body": {"gradient_checkpointing": 1}}, "gradient_checkpointing"),
    ({"extra_body": {"gradient_checkpointing": "on"}}, "gradient_checkpointing"),
    ({"extra_body": {"micro_batch_tokens": 63}}, "micro_batch_tokens"),
    ({"extra_body": {"micro_batch_tokens": 512.0}}, "micro_batch_tokens"),
    ({"extra_body": {"learning_rate": 1}}, "learning_rate"),
    ({"extra_body": {"evaluation": {"keep": "best"}}}, "validation_file"),
]


def test_a_value_out_of_range_is_refused_with_its_field(
    customer: Customer, training_file: str
) -> None:
    client = customer.client()
    for given, param in BAD:
        with pytest.raises(BadRequestError) as refused:
            client.fine_tuning.jobs.create(model="tiny", training_file=training_file, **given)
        assert refused.value.param == param
        assert refused.value.type == "invalid_request_error"
    assert client.fine_tuning.jobs.list().data == []


def test_several_training_files_are_asked_for_with_their_weights(
    customer: Customer, training_file: str
) -> None:
    client = customer.client()
    second = client.files.create(file=("b.jsonl", chat_rows()), purpose="fine-tune").id
    listed = [{"file": training_file, "weight": 2}, {"file": second, "weight": 0.1}]
    job = client.fine_tuning.jobs.create(
        model="tiny", training_file=training_file, extra_body={"training_files": listed}
    )
    strict(job)
    with tenant_scope(customer.tenant_id):
        made = Job.objects.get()
        assert made.requested["weight"] == 2
        assert [(each.file.public_id, each.weight) for each in made.further] == [(second, 0.1)]
    with pytest.raises(BadRequestError) as refused:
        client.fine_tuning.jobs.create(
            model="tiny", training_file=training_file,
            extra_body={"training_files": [*listed, listed[0]]},
        )  # fmt: skip
    assert refused.value.param == "training_files"
    with pytest.raises(BadRequestError) as refused:
        client.fine_tuning.jobs.create(
            model="tiny", training_file=training_file,
            extra_body={"training_files": listed, "validation_split": 0.1},
        )  # fmt: skip
    assert refused.value.code == "settings_clash"


def test_a_misspelt_layer_is_refused_with_the_nearest_that_there_is(
    customer: Customer, training_file: str
) -> None:
    client = customer.client()
    with pytest.raises(BadRequestError) as refused:
        client.fine_tuning.jobs.create(
            model="tiny",
            training_file=training_file,
            extra_body={"adapter": {"targets": ["q_proj", "v_porj"]}},
        )
    assert (refused.value.code, refused.value.param) == ("unknown_layer", "adapter.targets")
    assert "no linear layer 'v_porj' for an adapter; did you mean 'v_proj'?" in str(refused.value)
    assert client.fine_tuning.jobs.list().data == []


def test_a_file_that_does_not_serve_is_refused_with_what_to_do(customer: Customer) -> None:
    client = customer.client()
    other = client.files.create(file=("a.txt", b"x"), purpose="user_data")
    with pytest.raises(BadRequestError, match="purpose='fine-tune'") as refused:
        client.fine_tuning.jobs.create(model="tiny", training_file=other.id)
    assert refused.value.code == "invalid_file_purpose"
    for missing in ("file-" + "0" * 32, "nonsense"):
        with pytest.raises(NotFoundError) as absent:
            client.fine_tuning.jobs.create(model="tiny", training_file=missing)
        assert absent.value.param == "training_file"
    bad = client.files.create(file=("a.jsonl", b"{}\n"), purpose="fine-tune")
    customer.check_files()
    with pytest.raises(BadRequestError, match="did not pass its check"):
        client.fine_tuning.jobs.create(model="tiny", training_file=bad.id)


def test_a_job_may_name_a_file_right_after_its_upload(customer: Customer) -> None:
    client = customer.client()
    file = client.files.create(file=("a.jsonl", chat_rows()), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file.id)
    strict(job)
    assert (file.status, job.status) == ("uploaded", "validating_files")
    again = client.fine_tuning.jobs.create(
        model="tiny", training_file=file.id, extra_headers={"x-stainless-retry-count": "1"}
    )
    assert again.id == job.id
    codes = [event.model_extra["code"] for event in client.fine_tuning.jobs.list_events(job.id)]  # type: ignore[index]
    assert codes == ["file_awaited", "file_checked", "job_created"]
    with pytest.raises(BadRequestError) as needed:
        client.files.delete(file.id)
    assert needed.value.code == "file_in_use"
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    assert client.files.delete(file.id).deleted


def test_only_so_many_jobs_wait_for_their_files(customer: Customer, training_file: str) -> None:
    client = customer.client()
    first = client.fine_tuning.jobs.create(model="tiny", training_file=training_file)
    with tenant_scope(customer.tenant_id):
        waiting = Job.objects.get()
        for _ in range(settings.JOBS_READ - 1):
            waiting.pk = uuid4()
            waiting._state.adding = True
            waiting.save(force_insert=True)
    with pytest.raises(RateLimitError) as refused:
        client.fine_tuning.jobs.create(model="tiny", training_file=training_file, seed=2)
    assert refused.value.code == "too_many_jobs_waiting"
    assert "cancel some" in refused.value.message
    assert refused.value.response.headers["retry-after"] == "10"
    client.fine_tuning.jobs.cancel(first.id)
    client.fine_tuning.jobs.create(model="tiny", training_file=training_file, seed=2)


def test_a_model_without_a_licence_is_refused_with_the_licence_state(
    base_url: str, tiny_model: str
) -> None:
    customer = new_customer(base_url)
    client = customer.client()
    sent = client.files.create(file=("rows.jsonl", chat_rows()), purpose="fine-tune")
    customer.check_files()

    def refusal() -> PermissionDeniedError:
        with pytest.raises(PermissionDeniedError) as refused:
            client.fine_tuning.jobs.create(model=tiny_model, training_file=sent.id)
        return refused.value

    assert "hold no licence" in str(refusal())
    assert refusal().param == "model"
    licence = issue_license(
        tenant_id=customer.tenant_id,
        model=tiny_model,
        actor="test",
        valid_from=timezone.now() - timedelta(days=2),
        valid_until=timezone.now() - timedelta(days=1),
    )
    assert "expired, its last day was" in str(refusal())
    change_license(
        tenant_id=customer.tenant_id,
        license_id=licence.id,
        actor="test",
        state=LicenseState.SUSPENDED,
    )
    assert "suspended" in str(refusal())
    with pytest.raises(NotFoundError):
        client.fine_tuning.jobs.create(model="no-such-model", training_file=sent.id)


def test_jobs_are_listed_newest_first_and_found_by_metadata(
    customer: Customer, training_file: str
) -> None:
    client = customer.client()
    made = [
        client.fine_tuning.jobs.create(
            model="tiny",
            training_file=training_file,
            metadata={"team": "ab"[i % 2], "n": str(i)} if i else None,
        ).id
        for i in range(5)
    ]
    assert [job.id for job in client.fine_tuning.jobs.list(limit=2)] == made[::-1]
    found = client.fine_tuning.jobs.list(metadata={"team": "b"})
    assert [job.id for job in found] == [made[3], made[1]]
    assert not client.fine_tuning.jobs.list(metadata={"team": "b", "n": "2"}).data
    bare = client.fine_tuning.jobs.list(extra_query={"metadata": "null"})
    assert [job.id for job in bare] == [made[0]]


def test_a_job_is_paused_resumed_and_cancelled(customer: Customer, training_file: str) -> None:
    client = customer.client()
    job = client.fine_tuning.jobs.create(model="tiny", training_file=training_file)
    with pytest.raises(BadRequestError) as early:
        client.fine_tuning.jobs.pause(job.id)
    assert early.value.code == "job_not_pausable"
    with tenant_scope(customer.tenant_id):
        Job.objects.update(state=JobState.QUEUED)
    paused: str = client.fine_tuning.jobs.pause(job.id).status  # a state that the SDK's enum lacks
    assert paused == "paused"
    assert client.fine_tuning.jobs.resume(job.id).status == "queued"
    with pytest.raises(BadRequestError):
        client.fine_tuning.jobs.resume(job.id)
    cancelled = client.fine_tuning.jobs.cancel(job.id)
    strict(cancelled)
    assert cancelled.status == "cancelled"
    assert cancelled.finished_at is not None


def test_a_finished_job_tells_its_model_results_metrics_and_checkpoints(
    customer: Customer, training_file: str
) -> None:
    client = customer.client()
    job = client.fine_tuning.jobs.create(model="tiny", training_file=training_file)
    artifact = give_result(customer, job.id)
    for step in (10, 20):
        give_checkpoint(customer, job.id, step)
        give_event(customer, job.id, "metrics", {"step": step, "train_loss": 1.0 / step})
    done = client.fine_tuning.jobs.retrieve(job.id)
    strict(done)
    assert done.status == "succeeded"
    assert done.fine_tuned_model == artifact
    assert done.trained_tokens == 1234
    assert done.hyperparameters.n_epochs == 3
    csv = client.files.content(done.result_files[0]).text
    assert csv.startswith("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n")
    checkpoints = client.fine_tuning.jobs.checkpoints.list(job.id, limit=1)
    for checkpoint in checkpoints.data:
        strict(checkpoint)
    assert [each.step_number for each in checkpoints] == [20, 10]
    metrics = [e for e in client.fine_tuning.jobs.list_events(job.id) if e.type == "metrics"]
    assert [e.data["step"] for e in metrics] == [20, 10]  # type: ignore[index]


def test_a_job_whose_result_is_no_good_says_so(customer: Customer, training_file: str) -> None:
    client = customer.client()
    job = client.fine_tuning.jobs.create(model="tiny", training_file=training_file)
    assert job.model_extra is not None
    assert job.model_extra["warnings"] == []
    give_result(customer, job.id)
    warned = [LossRose(start_loss=2, end_loss=6).entry()]
    with tenant_scope(customer.tenant_id):
        Artifact.objects.update(report={"warnings": warned})
    done = client.fine_tuning.jobs.retrieve(job.id)
    assert done.status == "succeeded"
    assert done.model_extra is not None
    assert done.model_extra["warnings"] == warned


def test_a_failed_job_tells_why_and_what_to_do(customer: Customer, training_file: str) -> None:
    client = customer.client()
    job = client.fine_tuning.jobs.create(model="tiny", training_file=training_file)
    with tenant_scope(customer.tenant_id):
        Job.objects.update(
            state=JobState.FAILED,
            error={"code": "rows_too_long", "message": "3 rows are too long.", "param": None,
                   "fix": "Set overflow.", "where": None},
        )  # fmt: skip
    failed = client.fine_tuning.jobs.retrieve(job.id)
    strict(failed)
    assert failed.error is not None
    assert failed.error.message == "3 rows are too long. Set overflow."
