"""/api/v1/files/{id}/preview: a row as a model will see it, asked over the wire."""

import json
from typing import Any

import pytest
from django.test import Client

from tenants.roles import ROLE_SCOPES, Role, Scope
from tests.finetune.api.conftest import TINY
from tests.finetune.api.customers import Customer, chat_rows, new_customer, shelve
from tests.fixtures.people import member

pytestmark = pytest.mark.usefixtures("model_server")


def preview(customer: Customer, file: str, **query: Any) -> Any:
    with customer.http() as http:
        return http.get(f"/api/v1/files/{file}/preview", params={"model": TINY} | query)


def test_a_row_is_shown_token_by_token_with_what_is_trained(
    customer: Customer, training_file: str
) -> None:
    first = preview(customer, training_file)
    assert first.status_code == 200, first.text
    told = first.json()
    [pieces] = told["sequences"]
    trained = "".join(piece["text"] for piece in pieces if piece["trained"])
    whole = "".join(piece["text"] for piece in pieces)
    assert trained.endswith("<|im_end|>")
    assert whole.startswith("<|im_start|>user\n")
    assert told["trained"] == sum(len(p["ids"]) for p in pieces if p["trained"]) > 0
    last = preview(customer, training_file, row=told["rows"]).json()
    assert last["sequences"] != told["sequences"]
    short = preview(customer, training_file, max_length=8).json()
    assert (short["used"], [p["code"] for p in short["problems"]]) == (False, ["too_long"])


@pytest.mark.parametrize(
    ("query", "status", "code", "param"),
    [
        ({"row": 0}, 400, "row_missing", "row"),
        ({"row": 10**9}, 400, "row_missing", "row"),
        ({"row": "x"}, 400, "invalid_value", "row"),
        ({"row": "1.0"}, 400, "invalid_value", "row"),
        ({"max_length": " 64"}, 400, "invalid_value", "max_length"),
        ({"max_length": 7}, 400, "invalid_value", "max_length"),
        ({"max_length": 10**9}, 400, "invalid_value", "max_length"),
        ({"overflow": "shorten"}, 400, "invalid_value", "overflow"),
        ({"thinking": "deep"}, 400, "invalid_value", "thinking"),
        ({"rows": 1}, 400, "unknown_parameter", "rows"),
        ({"fim": "psm"}, 400, "cannot_infill", "fim"),
        ({"fim": "both"}, 400, "invalid_value", "fim"),
        ({"fim_cut": "word"}, 400, "invalid_value", "fim_cut"),
        ({"model": "no-such"}, 404, "model_not_found", "model"),
    ],
)
def test_what_cannot_be_shown_says_which_parameter(
    customer: Customer, training_file: str, query: Any, status: int, code: str, param: str
) -> None:
    refused = preview(customer, training_file, **query)
    assert refused.status_code == status, refused.text
    assert (refused.json()["code"], refused.json()["param"]) == (code, param)


def test_a_document_is_shown_with_a_hole_and_its_page_colours_the_parts(
    base_url: str, coder: str
) -> None:
    customer = new_customer(base_url, models=[coder])
    http = customer.client()
    sent = http.files.create(file=("c.txt", b"one = 1\ntwo = 2\nsix = 6\n"), purpose="fine-tune")
    chat = http.files.create(file=("c.jsonl", chat_rows()), purpose="fine-tune")
    customer.check_files()
    for order in ("psm", "spm"):
        told = preview(customer, sent.id, model=coder, fim=order, fim_cut="line").json()
        [pieces] = told["sequences"]
        parts = dict.fromkeys(("prefix", "middle", "suffix"), "")
        for piece in pieces:
            if piece["part"]:
                parts[piece["part"]] += piece["text"]
        assert "".join(parts.values()) == "one = 1\ntwo = 2\nsix = 6"
        marks = [piece["text"] for piece in pieces if piece["special"]]
        between = ["<|fim_suffix|>", "<|fim_middle|>", "<|im_end|>"]
        assert marks == ["<|fim_prefix|>", *between]
        seen = next(number for number, p in enumerate(pieces) if p["text"] == "<|fim_suffix|>")
        assert (seen == 1) == (order == "spm" or not parts["prefix"])
    refused = preview(customer, chat.id, model=coder, fim="psm").json()
    assert (refused["code"], refused["param"]) == ("no_document", "fim")
    client = Client(raise_request_exception=False)
    client.force_login(member(customer))
    from tenants.models import StoredFile

    page = f"/t/{customer.slug}/files/{StoredFile.public.read(sent.id)}/preview"
    shown = client.get(page, {"fim": "psm"}).content.decode()
    assert 'class="piece trained middle"' in shown
    assert "what fills it in" in shown


def test_a_file_that_is_not_checked_yet_is_told(customer: Customer) -> None:
    sent = customer.client().files.create(file=("r.jsonl", chat_rows()), purpose="fine-tune")
    refused = preview(customer, sent.id)
    assert (refused.status_code, refused.json()["code"]) == (400, "file_not_ready")


def test_a_huge_row_is_not_made_tokens_for_anybody(customer: Customer) -> None:
    huge = b'{"text": "small"}\n{"text": "' + b"word " * 250_000 + b'"}\n'
    sent = customer.client().files.create(file=("t.jsonl", huge), purpose="fine-tune")
    customer.check_files()
    assert preview(customer, sent.id).status_code == 200
    refused = preview(customer, sent.id, row=2)
    assert (refused.status_code, refused.json()["code"]) == (400, "row_too_large")


def test_a_strangers_file_and_a_model_without_licence_show_nothing(
    customer: Customer, training_file: str, base_url: str
) -> None:
    stranger = new_customer(base_url, models=[TINY])
    theirs, none = preview(stranger, training_file), preview(stranger, "file-" + "0" * 32)
    assert theirs.status_code == none.status_code == 404
    assert theirs.json()["detail"] == none.json()["detail"]
    shelve("unlicensed")
    refused = preview(customer, training_file, model="unlicensed")
    assert refused.status_code == 403
    blind = new_customer(base_url, models=[TINY], scopes=[Scope.JOBS_READ.value])
    assert preview(blind, training_file).json()["code"] == "missing_scope"


def test_the_page_shows_the_row_in_its_language_and_asks_each_time(
    customer: Customer, training_file: str
) -> None:
    assert Scope.FILES_READ in ROLE_SCOPES[Role.VIEWER]
    client = Client(raise_request_exception=False)
    client.force_login(member(customer))
    from tenants.models import StoredFile

    key = StoredFile.public.read(training_file)
    page = f"/t/{customer.slug}/files/{key}/preview"
    shown = client.get(page, headers={"accept-language": "zh-hans"}).content.decode()
    assert '<span class="piece trained' in shown
    assert "模型看到的样子" in shown
    assert "row=2" in shown
    assert (
        "没有这样一个"
        in client.get(page, {"row": 10**6}, headers={"accept-language": "zh-hans"}).content.decode()
    )
    pair = {"prompt": "lamp", "chosen": " on", "rejected": " off", "margin": 2.5}
    pairs = customer.client().files.create(
        file=("pairs.jsonl", json.dumps(pair).encode()), purpose="fine-tune"
    )
    customer.check_files()
    shown = client.get(f"/t/{customer.slug}/files/{StoredFile.public.read(pairs.id)}/preview")
    assert "Margin</div><div>2.5" in shown.content.decode()
    stranger = Client(raise_request_exception=False)
    stranger.force_login(member(new_customer()))
    assert stranger.get(page).status_code == 404
