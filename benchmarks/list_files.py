"""What the locks cost: the list of a tenant's files against a bare answer of the same server.

Run `python benchmarks/list_files.py [--files 20] [--requests 400]` with the packages of the tests,
whose throw-away database it uses. Two are asked in turns over kept-open connections: `GET
/v1/files` with a key (edge, key, scope, row-level security, pooled connection), and a view behind
the same middlewares that gives the very same JSON from memory. Figures are medians.
"""

import argparse
import logging
import os
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
ANSWER = "BENCHMARK_ANSWER"  # names the file whose bytes the bare view gives
WARM = 20
urlpatterns: list[Any] = []


def serve() -> Any:
    """In the server's process: the product's application, and the bare view among its addresses."""
    from django.conf import settings
    from django.http import HttpRequest, HttpResponse
    from django.urls import include, path

    from privatune.asgi import application

    @cache
    def answer() -> bytes:
        return Path(os.environ[ANSWER]).read_bytes()

    def bare(request: HttpRequest) -> HttpResponse:
        return HttpResponse(answer(), content_type="application/json")

    urlpatterns.extend([path("bare", bare), path("", include("privatune.urls"))])
    settings.ROOT_URLCONF = __name__
    return application


class Timed:
    """One kept-open connection, and how many milliseconds each of its requests took."""

    def __init__(self, http: httpx.Client, path: str) -> None:
        self._http, self._path = http, path
        self.taken: list[float] = []

    def ask(self) -> bytes:
        begun = time.perf_counter()
        answer = self._http.get(self._path)
        self.taken.append((time.perf_counter() - begun) * 1000)
        return answer.raise_for_status().content


def measure(url: str, key: str, requests: int) -> tuple[list[float], list[float]]:
    with ExitStack() as stack:
        client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"})
        listed = Timed(stack.enter_context(client), "/v1/files")
        bare = Timed(stack.enter_context(httpx.Client(base_url=url)), "/bare")
        Path(os.environ[ANSWER]).write_bytes(listed.ask())
        for _ in range(WARM + requests):
            assert bare.ask() == listed.ask()
    return listed.taken[-requests:], bare.taken[-requests:]


def prepare(files: int) -> str:
    """A tenant with files in the migrated database; its key."""
    from django.core.management import call_command

    from tenants.database.scope import tenant_scope
    from tenants.models import StoredFile
    from tests.finetune.api.customers import new_customer

    call_command("migrate", verbosity=0)
    customer = new_customer("")
    row = {"purpose": "user_data", "bytes": 1, "sha256": "0" * 64, "object_name": "none"}
    with tenant_scope(customer.tenant_id):
        for number in range(files):
            StoredFile.objects.create(filename=f"rows-{number}.jsonl", **row)
    return customer.key


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--requests", type=int, default=400)
    told = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "platform")]
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    from privatune.stack.postgres import EmbeddedPostgres
    from privatune.stack.secrets import ensure_secrets
    from tests.finetune.api.conftest import serving_http
    from tests.settings import TEST_DATA

    folder = Path(tempfile.mkdtemp())
    os.environ[ANSWER] = str(folder / "answer")
    server = EmbeddedPostgres(TEST_DATA / "pg", ensure_secrets(TEST_DATA))
    try:
        key = prepare(told.files)
        with serving_http("benchmarks.list_files:application") as (url, _):
            listed, bare = measure(url, key, told.requests)
    finally:
        server.stop()
        shutil.rmtree(folder)
    print(f"GET /v1/files, with a key  {statistics.median(listed):7.2f} ms")
    print(f"the same JSON, bare        {statistics.median(bare):7.2f} ms")
    print(f"ratio                      {statistics.median(listed) / statistics.median(bare):7.2f}")


if __name__ == "__main__":
    main()
elif ANSWER in os.environ:
    application = serve()
