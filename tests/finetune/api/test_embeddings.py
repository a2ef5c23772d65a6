"""/v1/embeddings by OpenAI's own client against the real serving process: a base that embeds gives
sentence-transformers' vectors; what it is not asked for is refused by name."""

import base64
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from openai import APIStatusError, BadRequestError, NotFoundError, PermissionDeniedError

from finetune.models import CatalogModel
from finetune.records.texts import TextEncoder
from finetune.services.models.catalog import import_model
from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry
from tests.embedders import WIDTH, build_embedder
from tests.finetune.api.conftest import TINY
from tests.finetune.api.customers import Customer, new_customer
from tests.finetune.api.test_pretrain import upload

sentence_transformers = pytest.importorskip("sentence_transformers")

EMBEDS = "embeds"
TEXTS = ["turn on the light", "switch off the fan in the living room", "客厅"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prompts = {"query": "ask: ", "document": "say: "}
    return build_embedder(tmp_path_factory.mktemp("embeds") / "base", prompts=prompts)


@pytest.fixture(scope="session")
def embeds(django_db_setup: None, django_db_blocker: Any, folder: Path) -> str:
    with django_db_blocker.unblock():
        import_model(source=str(folder), name=EMBEDS, licence="Apache-2.0", actor="test")
    return EMBEDS


@pytest.fixture
def asker(base_url: str, embeds: str, tiny_model: str, model_server: None) -> Customer:
    return new_customer(base_url, models=[embeds, tiny_model])


def test_the_client_gets_the_model_s_vectors(asker: Customer, folder: Path) -> None:
    client = asker.client()
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    expected = torch.tensor(model.encode(TEXTS))
    answer = client.embeddings.create(model=EMBEDS, input=TEXTS)
    found = torch.tensor([each.embedding for each in answer.data])
    assert found.shape == (3, WIDTH)
    assert float((found - expected).abs().max()) < 1e-5
    assert [each.index for each in answer.data] == [0, 1, 2]
    encoder = TextEncoder(folder)
    tokens = [encoder.encode(text, "text") for text in TEXTS]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(map(len, tokens))
    as_ids = client.embeddings.create(model=EMBEDS, input=tokens)
    one = client.embeddings.create(model=EMBEDS, input=tokens[0])
    single = client.embeddings.create(model=EMBEDS, input=TEXTS[0], encoding_format="float")
    for other, rows in ((as_ids, found), (one, found[:1]), (single, found[:1])):
        given = torch.tensor([each.embedding for each in other.data])
        assert float((given - rows).abs().max()) < 1e-5
    for side in ("query", "document"):
        sided = client.embeddings.create(
            model=EMBEDS, input=TEXTS, extra_body={"input_type": side}, dimensions=8
        )
        encode: Callable[..., Any] = getattr(model, f"encode_{side}")
        cut = torch.tensor(encode(TEXTS))[:, :8]
        wanted = torch.nn.functional.normalize(cut, dim=1)
        given = torch.tensor([each.embedding for each in sided.data])
        assert float((given - wanted).abs().max()) < 1e-5
    with tenant_scope(asker.tenant_id):
        assert AuditEntry.objects.filter(action="model.ask", target=EMBEDS).exists()


def test_base64_is_little_endian_floats(asker: Customer) -> None:
    asked = {"model": EMBEDS, "input": "x"}
    with asker.http() as http:
        plain = http.post("/v1/embeddings", json=asked)
        packed = http.post("/v1/embeddings", json=asked | {"encoding_format": "base64"})
    written = packed.json()["data"][0]["embedding"]
    assert array("f", base64.b64decode(written)).tolist() == pytest.approx(
        plain.json()["data"][0]["embedding"], abs=1e-7
    )
    assert int(plain.headers["x-ratelimit-remaining-tokens"]) > 0
    assert "x-privatune-base-digest" in plain.headers


@pytest.mark.parametrize(
    ("asked", "param", "code"),
    [
        ({"input": ""}, "input", "invalid_value"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": ["a", ""]}, "input", "invalid_value"),
        ({"input": ["x"] * 2049}, "input", "invalid_value"),
        ({"input": [[1, 999]]}, "input", "invalid_value"),
        ({"input": "light " * 300}, "input", "context_length_exceeded"),
        ({"input": " " * 2**20}, "input", "context_length_exceeded"),
        ({"dimensions": 33}, "dimensions", "invalid_value"),
        ({"dimensions": 0}, "dimensions", "invalid_value"),
        ({"extra_body": {"input_type": "other"}}, "input_type", "invalid_value"),
        ({"extra_body": {"truncate": True}}, "truncate", "unknown_parameter"),
        ({"model": TINY}, "model", "model_writes"),
    ],
)
def test_what_cannot_be_is_refused(
    asked: dict[str, Any], param: str, code: str, asker: Customer
) -> None:
    with pytest.raises(BadRequestError) as refused:
        asker.client().embeddings.create(**({"model": EMBEDS, "input": "x"} | asked))
    assert (refused.value.code, refused.value.param) == (code, param)


def test_who_has_no_right_gets_no_vector(base_url: str, embeds: str, asker: Customer) -> None:
    stranger = new_customer(base_url).client()
    with pytest.raises(APIStatusError) as refused:
        stranger.embeddings.create(model=EMBEDS, input="x")
    assert isinstance(refused.value, NotFoundError | PermissionDeniedError)


def subjects_of(client: Any) -> None:
    """Has it evaluated, as if it wrote answers."""
    suite = client.evals.create(
        data_source_config={"type": "custom", "item_schema": {"type": "object"}},
        testing_criteria=[{"type": "string_check", "name": "s", "operation": "eq",
                           "input": "{{ sample.output_text }}", "reference": "x"}],
    )  # fmt: skip
    client.evals.runs.create(
        eval_id=suite.id,
        data_source={
            "type": "completions",
            "model": EMBEDS,
            "source": {"type": "file_content", "content": [{"item": {"q": "a"}}]},
            "input_messages": {
                "type": "template",
                "template": [{"role": "user", "content": "{{ item.q }}"}],
            },
        },
    )


def test_it_writes_no_text_and_is_not_trained_by_what_writes(asker: Customer) -> None:
    client = asker.client()
    with pytest.raises(BadRequestError) as refused:
        client.chat.completions.create(model=EMBEDS, messages=[{"role": "user", "content": "hi"}])
    assert refused.value.code == "model_embeds"
    with pytest.raises(BadRequestError) as unwritten:
        subjects_of(client)
    assert (unwritten.value.code, unwritten.value.param) == ("model_embeds", "model")
    rows = b'{"query": "a", "positive": "b"}\n{"query": "c", "positive": "d"}\n'
    sent = client.files.create(file=("rows.jsonl", rows), purpose="fine-tune")
    asker.check_files()
    with pytest.raises(BadRequestError) as unfit:
        client.fine_tuning.jobs.create(model=EMBEDS, training_file=sent.id)
    assert (unfit.value.code, unfit.value.param) == ("wrong_family", "method")


@pytest.mark.django_db
def test_the_catalogue_says_what_it_is(embeds: str) -> None:
    model = CatalogModel.objects.get(name=EMBEDS)
    assert (model.family, model.architecture, model.context_length) == (
        "embedding",
        "BertModel",
        64,
    )


@pytest.mark.parametrize("asked", [[WIDTH, 8], [9999, WIDTH]])
def test_vectors_are_not_trained_to_be_longer_than_the_bases(
    asker: Customer, asked: list[int]
) -> None:
    """It was a failure of the training, after the turn that it took."""
    row = b'{"query": "light", "positive": "turn on the light"}\n'
    file = upload(asker, b"".join(row.replace(b"light", b"%d" % n) for n in range(9)), "v.jsonl")
    method: Any = {"type": "contrastive", "contrastive": {"hyperparameters": {"dimensions": asked}}}

    def start() -> Any:
        return asker.client().fine_tuning.jobs.create(
            model=EMBEDS, training_file=file, method=method
        )

    if max(asked) == WIDTH:
        assert start().status == "validating_files"
        return
    with pytest.raises(BadRequestError) as refused:
        start()
    assert refused.value.code == "bad_dimensions"
    assert refused.value.param == "method.contrastive.hyperparameters.dimensions"
    assert f"have {WIDTH} dimensions; 9999 are asked for" in refused.value.message
