"""Continued pre-training, asked for over the wire: from a book to what the trainer is told."""

from typing import Any

import pytest
from openai import BadRequestError

from finetune.models import Job
from finetune.services.jobs.validation import VALIDATE
from finetune.states import JobState
from finetune.trainer.spec import RunSpec
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tests.finetune.api.conftest import TINY
from tests.finetune.api.customers import Customer, chat_rows, new_customer

BOOK = "\n\n".join(f"Paragraph {n}. It tells of room {n * 7} and lamp {n}." for n in range(80))
PRETRAIN: Any = {"type": "pretrain", "pretrain": {"hyperparameters": {"n_epochs": 2}}}


def holes(**asked: Any) -> dict[str, Any]:
    return {"type": "pretrain", "pretrain": {"hyperparameters": asked}}


def upload(customer: Customer, data: bytes, name: str) -> str:
    sent = customer.client().files.create(file=(name, data), purpose="fine-tune")
    customer.check_files()
    return sent.id


def start(
    customer: Customer, file: str, method: Any = PRETRAIN, model: str = TINY, **options: Any
) -> Any:
    asked = {"method": method, "max_length": 128} | options
    return customer.client().fine_tuning.jobs.create(
        model=model, training_file=file, extra_body=asked
    )


def validated(customer: Customer, job_id: str) -> Job:
    key = Job.public.read(job_id)
    assert key is not None
    while True:
        perform(VALIDATE, tenant_id=customer.tenant_id, key=key)
        customer.check_files()
        with tenant_scope(customer.tenant_id):
            job = Job.objects.select_related("training_data").get(id=key)
        if job.state != JobState.VALIDATING_FILES:
            return job


def test_a_book_is_trained_in_chunks_whose_steps_are_told(customer: Customer) -> None:
    created = start(customer, upload(customer, BOOK.encode(), "book.txt"))
    assert created.method.type == "pretrain"
    job = validated(customer, created.id)
    assert (job.state, job.error) == (JobState.QUEUED, None)
    data = job.training_data
    assert data is not None
    assert data.report["rows"] == 1
    assert data.overflow == "chunk"
    assert data.rows == data.report["chunks"] > 10
    spec = RunSpec.model_validate(job.resolved["spec"] | {
        "gradient_checkpointing": False, "micro_batch_tokens": 512,
    })  # fmt: skip
    assert spec.objective == "pretrain"
    assert job.total_steps == 2 * -(-data.rows // spec.batch_size)
    told = customer.client().fine_tuning.jobs.retrieve(created.id).to_dict()
    assert told["method"]["pretrain"]["hyperparameters"]["n_epochs"] == 2


def test_holes_are_cut_where_the_base_has_the_tokens(base_url: str, coder: str) -> None:
    customer = new_customer(base_url, models=[coder])
    asked = holes(n_epochs=1, fim_rate=0.5, fim_cut="line")
    created = start(customer, upload(customer, BOOK.encode(), "book.txt"), asked, model=coder)
    job = validated(customer, created.id)
    assert (job.state, job.error) == (JobState.QUEUED, None)
    told = customer.client().fine_tuning.jobs.retrieve(created.id).to_dict()
    own = {"fim_rate": 0.5, "fim_spm_rate": 0.5, "fim_cut": "line"}
    assert job.resolved["spec"]["settings"] == own
    assert told["method"]["pretrain"]["hyperparameters"].items() >= own.items()


@pytest.mark.parametrize(
    ("method", "options", "param"),
    [
        ({"type": "pretrain", "supervised": {"hyperparameters": {"n_epochs": 1}}}, {},
         "method.supervised"),
        ({"type": "pretrain", "pretrain": {"hyperparameters": {"n_epochs": 0}}}, {},
         "method.pretrain.hyperparameters.n_epochs"),
        ({"type": "supervised"}, {"overflow": "chunk"}, "overflow"),
        (holes(fim_rate=0.5), {}, "method.pretrain.hyperparameters.fim_rate"),  # of this base
        (holes(fim_rate=1.5), {}, "method.pretrain.hyperparameters.fim_rate"),
        (holes(fim_cut="line"), {}, "method.pretrain.hyperparameters.fim_rate"),
        (holes(fim_rate=1, fim_cut="word"), {}, "method.pretrain.hyperparameters.fim_cut"),
        (PRETRAIN, {"overflow": "fold"}, "overflow"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_with_its_place(
    customer: Customer, method: Any, options: Any, param: str
) -> None:
    file = upload(customer, b"A text.", "a.txt")
    with pytest.raises(BadRequestError) as refused:
        start(customer, file, method, **options)
    assert refused.value.param == param, refused.value.message


def test_chats_are_no_documents(customer: Customer) -> None:
    file = upload(customer, chat_rows(), "chat.jsonl")
    with pytest.raises(BadRequestError, match="formats text, and the file") as refused:
        start(customer, file)
    assert (refused.value.code, refused.value.param) == ("wrong_kind_of_record", "training_file")
