"""How often one caller may ask, and what it is told."""

import asyncio
import uuid
from collections.abc import Iterator

import httpx
import pytest

from finetune.api.problems import Refusal
from privatune.edge.rates import Floods
from privatune.edge.turns import Turns
from tenants.buckets import Buckets, duration
from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry
from tenants.roles import Scope
from tenants.services.limits import change_limits
from tenants.services.tenants import create_key
from tests.finetune.api.conftest import STILL, serving_http
from tests.finetune.api.customers import new_customer
from tests.privatune.edge.conftest import signed_in

KEY, TENANT, ADDRESS = 20, 30, 60


@pytest.fixture(scope="module")
def _narrow(django_db_setup: None) -> Iterator[str]:
    limits = {
        "PRIVATUNE_KEY_REQUESTS": str(KEY),
        "PRIVATUNE_TENANT_REQUESTS": str(TENANT),
        "PRIVATUNE_ADDRESS_REQUESTS": str(ADDRESS),
        "PRIVATUNE_TRUSTED_PROXIES": "127.0.0.1",
    }
    with serving_http(STILL, **limits) as (url, _):
        yield url


@pytest.fixture
def narrow(_narrow: str, committed: None) -> str:
    return _narrow


def until_refused(url: str, path: str, headers: dict[str, str], most: int) -> httpx.Response:
    """The first refusal: at the latest after so many answers."""
    with httpx.Client(base_url=url, headers=headers) as http:
        for _ in range(most + 1):
            response = http.get(path)
            if response.status_code == 429:
                return response
    raise AssertionError("never refused")


def test_a_key_and_its_tenant_are_limited_and_told_so(narrow: str) -> None:
    customer = new_customer(narrow)
    first = customer.http().get("/v1/models")
    assert first.headers["x-ratelimit-limit-requests"] == str(KEY)
    assert first.headers["x-ratelimit-remaining-requests"] == str(KEY - 1)
    assert first.headers["x-ratelimit-reset-requests"].endswith("s")
    key = {"Authorization": f"Bearer {customer.key}"}
    refused = until_refused(narrow, "/v1/models", key, KEY)
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.json()["error"]["type"] == "requests"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers.get("x-should-retry") != "false"
    _, second = create_key(tenant_id=customer.tenant_id, name="b", actor="test")
    own = until_refused(narrow, "/api/v1/keys", {"Authorization": f"Bearer {second}"}, TENANT - KEY)
    assert own.headers["content-type"] == "application/problem+json"
    assert "organisation" in own.json()["detail"], "a second key brings no second share"
    assert new_customer(narrow).http().get("/v1/models").status_code == 200


def test_an_address_with_made_up_keys_is_limited_and_its_neighbour_with_a_good_one_is_not(
    narrow: str,
) -> None:
    """Behind one proxy, and from one address: who holds a good key is let past."""
    customer = new_customer(narrow)
    there = {"X-Forwarded-For": "198.51.100.7"}
    assert customer.http(**there).get("/v1/models").status_code == 200
    flood = there | {"Authorization": f"Bearer pt-{uuid.uuid4().hex[:12]}-x"}
    refused = until_refused(narrow, "/v1/models", flood, ADDRESS)
    assert refused.json()["error"]["code"] == "too_many_requests"
    assert int(refused.headers["retry-after"]) >= 1
    until_refused(narrow, "/accounts/login/", there, ADDRESS)
    assert customer.http(**there).get("/v1/models").status_code == 200
    elsewhere = {"X-Forwarded-For": "198.51.100.8"}
    assert httpx.get(f"{narrow}/v1/models", headers=elsewhere).status_code == 401
    forged = {"X-Forwarded-For": "203.0.113.1, 198.51.100.7"}
    until_refused(narrow, "/v1/models", forged, ADDRESS)


def test_people_behind_one_address_are_counted_one_by_one(narrow: str) -> None:
    customer = new_customer(narrow)
    page = f"/t/{customer.slug}/files/"
    there = {"X-Forwarded-For": "198.51.100.9"}
    one, other = (there | {"Cookie": signed_in(customer)} for _ in range(2))
    for person in (one, other):
        assert httpx.get(f"{narrow}{page}", headers=person).status_code == 200
    refused = until_refused(narrow, page, one, ADDRESS)
    assert int(refused.headers["retry-after"]) >= 1
    assert httpx.get(f"{narrow}{page}", headers=other).status_code == 200
    assert httpx.get(f"{narrow}/accounts/login/", headers=there).status_code == 200
    made_up = there | {"Cookie": "sessionid=0123456789abcdef0123456789abcdef"}
    until_refused(narrow, "/accounts/login/", made_up, ADDRESS)
    assert httpx.get(f"{narrow}/accounts/login/", headers=there).status_code == 429


def test_what_the_operator_gave_one_tenant_holds_from_its_next_request_on(narrow: str) -> None:
    customer = new_customer(narrow)
    assert customer.http().get("/v1/models").headers["x-ratelimit-limit-requests"] == str(KEY)
    change_limits(
        tenant_id=customer.tenant_id,
        changes={"key_requests": 2 * TENANT, "requests": 3 * TENANT},
        actor="test",
    )
    key = {"Authorization": f"Bearer {customer.key}"}
    with httpx.Client(base_url=narrow, headers=key) as http:
        answers = [http.get("/v1/models") for _ in range(TENANT)]
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in answers} == {str(2 * TENANT)}
    assert [answer.status_code for answer in answers] == [200] * (KEY - 1) + [429] * (
        TENANT - KEY + 1
    ), "its bucket grows at the new rate from what was left in it, and time stands still here"
    with tenant_scope(customer.tenant_id):
        entry = AuditEntry.objects.get(action="tenant.limits")
    assert entry.data["key_requests"] == {"from": None, "to": 2 * TENANT}


def test_processes_side_by_side_share_a_limit_out(django_db_setup: None, committed: None) -> None:
    limits = {"PRIVATUNE_KEY_REQUESTS": str(KEY), "PRIVATUNE_WEB_PROCESSES": "2"}
    with serving_http(STILL, workers=2, **limits) as (url, _):
        key = {"Authorization": f"Bearer {new_customer(url).key}"}
        good, refused = 0, 0
        while refused < KEY:
            answer = httpx.get(f"{url}/v1/models", headers=key)  # a connection of its own
            assert answer.headers["x-ratelimit-limit-requests"] == str(KEY // 2)
            good += answer.status_code == 200
            refused += answer.status_code == 429
        assert good <= KEY


def test_a_bucket_fills_again() -> None:
    now = [0.0]
    bucket = Buckets(2, 60, clock=lambda: now[0])
    assert [bucket.take("a") for _ in range(3)] == [True, True, False]
    assert bucket.look("a").wait_for(1) == pytest.approx(30)
    assert bucket.take("b"), "another's is full"
    now[0] = 30.0
    assert [bucket.take("a") for _ in range(2)] == [True, False]


def test_buckets_do_not_grow_with_the_number_of_strangers() -> None:
    bucket = Buckets(2, 60)
    for number in range(21_000):
        bucket.take(str(number))
    assert len(bucket._buckets) <= 20_000
    floods = Floods(10)
    for number in range(11_000):
        floods.remember("192.0.2.1", str(number).encode())
    assert len(floods._good) <= 10_000


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.02, "20ms"), (1.5, "1.5s"), (360, "6m0s"), (0, "0ms")]
)
def test_durations_are_written_as_openai_does(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_one_callers_turns_do_not_hold_up_anothers() -> None:
    async def scene() -> None:
        turns, hold = Turns(at_once=2, waiting=1), asyncio.Event()

        async def work(owner: str) -> None:
            async with turns.turn(owner):
                await hold.wait()

        busy = [asyncio.create_task(work("a")) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            async with turns.turn("a"):
                pass
        assert refused.value.problem.status == 429
        async with asyncio.timeout(60), turns.turn("b"):  # nobody has let go by then
            assert not hold.is_set()
        hold.set()
        await asyncio.gather(*busy)
        assert not turns._lines

    asyncio.run(scene())


def test_a_good_key_that_is_refused_is_counted_too(narrow: str) -> None:
    """Each refusal costs the database as much as an answer."""
    customer = new_customer(narrow, scopes=[Scope.FILES_READ])
    key = {"Authorization": f"Bearer {customer.key}"}
    assert httpx.get(f"{narrow}/v1/files", headers=key).status_code == 200  # known as good
    refused = until_refused(narrow, "/v1/fine_tuning/jobs", key, KEY)
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"


def test_a_stolen_key_elsewhere_is_counted_for_its_address(narrow: str) -> None:
    """Also while its owner uses it, and so the key is known as good."""
    customer = new_customer(narrow)
    _, secret = create_key(
        tenant_id=customer.tenant_id, name="b", actor="test", allowed_addresses=["198.51.100.21"]
    )
    key = {"Authorization": f"Bearer {secret}"}
    home, away = ({"X-Forwarded-For": f"198.51.100.{each}"} for each in (21, 22))
    assert httpx.get(f"{narrow}/v1/models", headers=key | home).status_code == 200
    refused = until_refused(narrow, "/v1/models", key | away, ADDRESS)
    assert refused.json()["error"]["code"] == "too_many_requests"
    assert httpx.get(f"{narrow}/v1/models", headers=key | home).status_code == 200
