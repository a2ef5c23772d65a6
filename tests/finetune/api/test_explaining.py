"""What each face tells of a fault, and what it keeps for the operator's log."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from faults import Fault, UserFault
from finetune.api.explaining import explain, foreseen, told
from finetune.api.problems import UNEXPECTED
from finetune.api.wire.event_streams import stream
from finetune.services.models.gateway import TooManyWaiting
from finetune.serving.protocol import Delta
from tenants.errors import Conflict, NotAuthenticated
from tenants.vault.errors import BadKey, KeyDestroyed, KeyUnavailable, StorageDown, StorageFull

PLACE = "/srv/secret-place"
PRIVATE = [
    (StorageFull(PLACE), 503, "storage_full"),
    (StorageDown(PLACE, "refused"), 503, "storage_down"),
    (KeyUnavailable(f"{PLACE} is gone", "Look there."), 503, "key_unavailable"),
    (BadKey(PLACE, "no"), 500, "internal_error"),
]


def answered(face: str, fault: Fault) -> HttpResponse:
    return told(RequestFactory().get(f"{face}x"), fault)


@pytest.mark.parametrize(("fault", "status", "code"), PRIVATE)
def test_words_that_name_a_place_of_ours_are_for_the_log_alone(
    fault: Fault, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    for face in ("/v1/", "/api/v1/"):
        answer = answered(face, fault)
        assert answer.status_code == status
        assert PLACE.encode() not in answer.content
        body = json.loads(answer.content)
        assert body.get("error", body)["code"] == code
        assert answer.get("Retry-After") == ("30" if status == 503 else None)
    assert PLACE in caplog.text


@pytest.mark.parametrize(("fault", "status", "code"), PRIVATE)
def test_a_stream_that_breaks_off_tells_no_place_of_ours_either(
    fault: Fault, status: int, code: str
) -> None:
    first, last = streamed(fault)
    assert first == {"token": 1}
    assert PLACE not in last["error"]["message"]
    assert (last["error"]["code"], last["error"]["type"]) == (code, "server_error")


def test_a_stream_that_breaks_off_says_what_and_how_to_mend_it() -> None:
    fault = UserFault("model_evicted", "The model was deleted.", fix="Ask another.", param="model")
    assert streamed(fault)[-1] == {
        "error": {
            "message": "The model was deleted. Ask another.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_evicted",
        }
    }


def streamed(fault: Fault) -> list[dict[str, Any]]:
    async def deltas() -> AsyncGenerator[Delta]:
        yield Delta(text="1")
        raise fault

    async def show(given: AsyncIterator[Delta]) -> AsyncGenerator[dict[str, Any]]:
        async for delta in given:
            yield {"token": int(delta.text)}

    async def begun() -> AsyncIterator[Delta]:
        return deltas()

    async def lines() -> list[dict[str, Any]]:
        response: Any = await stream(begun(), show)
        return [json.loads(line.removeprefix(b"data: ")) async for line in response]

    return asyncio.run(lines())


def test_what_a_class_says_of_its_kind_is_in_the_answer() -> None:
    waiting = answered("/v1/", TooManyWaiting("too_many_waiting", "Too many."))
    assert (waiting.status_code, waiting["Retry-After"]) == (429, "1")
    assert "x-should-retry" not in waiting
    stranger = answered("/api/v1/", NotAuthenticated("invalid_api_key", "Wrong key."))
    assert (stranger.status_code, stranger["WWW-Authenticate"]) == (401, "Bearer")
    # OpenAI's clients take 409 for a lock that will be free soon; ours is for good
    conflict = Conflict("file_in_use", "In use.")
    assert [answered(face, conflict).status_code for face in ("/v1/", "/api/v1/")] == [400, 409]


def test_what_nobody_foresaw_is_told_without_its_insides() -> None:
    assert foreseen(ValueError(PLACE)) is None
    assert explain(ValueError(PLACE)) is UNEXPECTED
    assert explain(KeyDestroyed("t")).status == 410
