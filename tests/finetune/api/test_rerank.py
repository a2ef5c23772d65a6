"""/v1/rerank against the real serving process: a base that ranks gives CrossEncoder's order and
scores; what a model is not asked for is refused by name."""

from pathlib import Path
from typing import Any

import pytest

from faults import UserFault
from finetune.families import family
from finetune.records.texts import PairEncoder
from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry
from tests.finetune.api.conftest import RANKS, TINY
from tests.finetune.api.customers import Customer, new_customer

sentence_transformers = pytest.importorskip("sentence_transformers")

QUERY = "turn on the light in the kitchen"
DOCUMENTS = ["the hall has a fan", "the kitchen has a light", "客厅", "a kitchen " * 80]


@pytest.fixture
def asker(base_url: str, ranks: Path, tiny_model: str, model_server: None) -> Customer:
    return new_customer(base_url, models=[RANKS, tiny_model])


def test_documents_come_in_the_order_of_their_scores(asker: Customer, ranks: Path) -> None:
    model = sentence_transformers.CrossEncoder(str(ranks), device="cpu")
    expected = model.rank(QUERY, DOCUMENTS)
    asked = {"model": RANKS, "query": QUERY, "documents": DOCUMENTS}
    with asker.http() as http:
        answer = http.post("/v1/rerank", json=asked | {"top_n": 0, "return_documents": None})
        cut = http.post(
            "/v1/rerank",
            json=asked
            | {
                "documents": [{"text": each} for each in DOCUMENTS],
                "top_n": 2,
                "return_documents": True,
            },
        )
    told = answer.json()
    assert answer.status_code == 200, told
    assert [each["index"] for each in told["results"]] == [e["corpus_id"] for e in expected]
    for one, other in zip(told["results"], expected, strict=True):
        assert one["relevance_score"] == pytest.approx(float(other["score"]), abs=1e-5)
        assert one.keys() == {"index", "relevance_score"}
    assert told["model"] == RANKS
    assert told["usage"]["total_tokens"] > 64  # the last one is cut to as many
    best = expected[0]["corpus_id"]
    firsts = [each["index"] for each in cut.json()["results"]]
    assert firsts == [each["corpus_id"] for each in expected[:2]]
    assert cut.json()["results"][0]["document"] == {"text": DOCUMENTS[best]}
    with tenant_scope(asker.tenant_id):
        assert AuditEntry.objects.filter(action="model.ask", target=RANKS).exists()


FIELDS = {"title": "the hall", "text": "has a fan", "rooms": 2, "id": None}


@pytest.mark.parametrize(
    ("path", "more", "read", "shown"),
    [
        (  # Cohere's ClientV2 and LangChain's CohereRerank
            "/v2/rerank",
            {"documents": ["", DOCUMENTS[0]], "top_n": None, "max_tokens_per_doc": 2,
             "relevant_spans": None, "priority": 0},
            ["", "the"],
            None,
        ),
        (  # Cohere's Client, of objects, at an address that LiteLLM makes of one with /v1
            "/v1/v2/rerank",
            {"documents": [FIELDS, DOCUMENTS[1]], "rank_fields": ["text", "title", "rooms", "id"],
             "return_documents": True, "max_chunks_per_doc": 10},
            ["has a fan\nthe hall\n2", DOCUMENTS[1]],
            [FIELDS, {"text": DOCUMENTS[1]}],
        ),
        (  # vLLM's, by LiteLLM, and Jina's
            "/rerank",
            {"documents": [FIELDS, {"text": ""}], "truncation": True, "return_documents": False},
            ["has a fan", ""],
            None,
        ),
    ],
)  # fmt: skip
def test_clients_ask_in_their_own_ways(
    path: str, more: dict[str, Any], read: list[str], shown: Any, asker: Customer, ranks: Path
) -> None:
    model = sentence_transformers.CrossEncoder(str(ranks), device="cpu")
    expected = model.predict([(QUERY, each) for each in read]).tolist()
    with asker.http() as http:
        answer = http.post(path, json={"model": RANKS, "query": QUERY} | more)
    assert answer.status_code == 200, answer.text
    told = sorted(answer.json()["results"], key=lambda each: each["index"])
    assert [each["relevance_score"] for each in told] == pytest.approx(expected, abs=1e-5)
    assert expected[0] != pytest.approx(expected[1], abs=1e-3)
    assert [each.get("document") for each in told] == (shown or [None, None])
    assert answer.json()["meta"]["tokens"]["input_tokens"] > 0


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("rerank", {"model": TINY, "query": "a", "documents": ["b"]}, "model_does_not_rank"),
        ("embeddings", {"model": RANKS, "input": "a"}, "model_ranks"),
        (
            "chat/completions",
            {"model": RANKS, "messages": [{"role": "user", "content": "a"}]},
            "model_ranks",
        ),
        (
            "rerank",
            {"model": RANKS, "query": "light " * 300, "documents": ["b"]},
            "context_length_exceeded",
        ),
        (  # no tokens to speak of, and read beside each document
            "rerank",
            {"model": RANKS, "query": " " * 2**20, "documents": ["b"] * 9},
            "request_too_costly",
        ),
        (
            "rerank",
            {"model": RANKS, "query": " " * 2**20, "documents": ["b"]},
            "context_length_exceeded",
        ),
        (
            "rerank",
            {"model": RANKS, "query": "a", "documents": ["b" * 2**20], "truncation": False},
            "context_length_exceeded",
        ),
        (  # a megabyte was made sixty-four of
            "rerank",
            {
                "model": RANKS,
                "query": "a",
                "documents": [{"text": "b"}],
                "rank_fields": ["text"] * 64,
            },
            "invalid_value",
        ),
        ("rerank", {"model": RANKS, "query": "a", "documents": []}, None),
        ("rerank", {"model": RANKS, "query": "", "documents": ["b"]}, None),
        ("rerank", {"model": RANKS, "query": "a", "documents": ["b"], "top_n": -1}, None),
        ("rerank", {"model": RANKS, "query": "a", "documents": ["b"] * 2049}, None),
        ("rerank", {"model": RANKS, "query": "a", "documents": [["b"]]}, None),
        ("rerank", {"model": RANKS, "query": "a", "documents": [{"title": "b"}]}, "invalid_value"),
        ("rerank", {"model": RANKS, "query": "a", "documents": [{"text": ["b"]}]}, None),
        ("rerank", {"model": RANKS, "query": None, "documents": ["b"]}, None),
        ("rerank", {"model": RANKS, "query": "a", "documents": ["b"], "top_k": 1}, None),
        (
            "rerank",
            {"model": RANKS, "query": "a", "documents": ["b", "c " * 80], "truncation": False},
            "context_length_exceeded",
        ),
    ],
)
def test_what_is_not_to_be_asked(
    path: str, body: dict[str, Any], code: str | None, asker: Customer
) -> None:
    with asker.http() as http:
        answer = http.post(f"/v1/{path}", json=body)
    assert answer.status_code == 400, answer.text
    if code is not None:
        assert answer.json()["error"]["code"] == code


def test_a_query_is_not_read_beside_documents_without_end(
    ranks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune.serving import embedding
    from finetune.serving.bases import RankingBase
    from finetune.serving.protocol import EmbedRequest

    monkeypatch.setattr(embedding, "MOST_QUERY_TOKENS", 100)
    ranker: Any = family("reranking").resident(ranks, precision="fp32", device="cpu")
    base = RankingBase("sha256:r", ranker, PairEncoder(ranks))
    asked = EmbedRequest(
        tenant="t", base_path="", base_digest="", inputs=["a"] * 90, query="turn on the light"
    )
    with pytest.raises(UserFault) as fault:
        embedding.texts_of(base, asked)
    assert (fault.value.code, fault.value.param) == ("request_too_costly", "documents")
    assert len(embedding.texts_of(base, asked.model_copy(update={"inputs": ["a"]}))) == 1


@pytest.mark.parametrize("more", [{}, {"document_tokens": 9}])
def test_of_a_long_document_no_more_is_read_than_counts(
    ranks: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    """Of a megabyte, seconds of a processor were taken, and a few dozen tokens of the limits."""
    from finetune.records import texts
    from finetune.serving import embedding
    from finetune.serving.bases import RankingBase
    from finetune.serving.protocol import EmbedRequest

    ranker: Any = family("reranking").resident(ranks, precision="fp32", device="cpu")
    base = RankingBase("sha256:r", ranker, PairEncoder(ranks))
    read: list[int] = []

    def encoded(fast: Any, *given: str, **how: Any) -> Any:
        read.append(sum(map(len, given)))
        return kept(fast, *given, **how)

    kept = texts.encoded
    monkeypatch.setattr(texts, "encoded", encoded)
    asked = EmbedRequest(
        tenant="t", base_path="", base_digest="", inputs=["the light " * 90_000], query="a", **more
    )
    (pair,) = embedding.texts_of(base, asked)
    assert max(read) <= 1 + base.context_length * embedding.LONGEST_TOKEN < 10_000
    short = asked.model_copy(update={"inputs": ["the light " * 90]})
    assert embedding.texts_of(base, short) == [pair]
