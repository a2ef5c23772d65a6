"""One file, three doors: the server's check over its API, the same on the person's own machine, and
what the portal's page shows of it. They tell the same."""

import html
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from openai import BadRequestError
from typer.testing import CliRunner

from finetune import selectors
from finetune.records.check.codes import CODES
from privatune.cli.app import app
from privatune.portal.findings import ASKED
from tenants.database.scope import tenant_scope
from tests.finetune.api.customers import Customer, new_customer
from tests.fixtures.odd_files import ODD
from tests.fixtures.people import browser_of, member

Told = tuple[list[tuple[str, int | None, bool]], dict[str, int], int]
"""Each listed finding's message, line, and whether it is only a notice; how many of each code;
usable rows."""
NOTICE = '<span class="badge bg-yellow-lt">notice</span> '


def by_api(customer: Customer, name: str, data: bytes) -> tuple[Told, str]:
    client = customer.client()
    sent = client.files.create(file=(name, data), purpose="fine-tune")
    customer.check_files()
    with customer.http() as http:
        listed = http.get("/api/v1/datasets").json()["data"]
    (reading,) = [each for each in listed if each["file"] == sent.id]
    return told(reading["report"]), sent.id


def by_command(folder: Path, name: str, data: bytes) -> Told:
    path = folder / name
    path.write_bytes(data)
    done = CliRunner().invoke(app, ["check", str(path), "--json"])
    return told(json.loads(done.stdout))


def by_page(customer: Customer, browser: Client, file_id: str) -> Told:
    """What a person has to answer stands above the list, and not in it again."""
    with tenant_scope(customer.tenant_id):
        file = selectors.find(selectors.files(), file_id)
    page = browser.get(f"/t/{customer.slug}/files/{file.id}/").content.decode()
    rows = re.findall(r"<tr><td>(\d*)</td><td>.*?</td><td>(.*?)</td><td>(.+?)</td></tr>", page)
    counts = re.findall(r' title="(\w+)">[^<]+ × (\d+)</span>', page)
    usable = re.search(r"Usable</div><div>(\d+)</div>", page)
    assert usable
    above = [
        (code, html.unescape(said).removesuffix(f" {CODES[code].fix}"))
        for said in re.findall(r'<div class="alert alert-warning" role="status">(.*?)</div>', page)
        for code in ASKED
        if html.unescape(said).endswith(f" {CODES[code].fix}")
    ]
    listed = [
        (
            html.unescape(message.removeprefix(NOTICE)),
            int(line) if line else None,
            message.startswith(NOTICE),
        )
        for line, message, _ in rows
    ]
    return (
        [*((said, None, True) for _, said in above), *listed],
        Counter(code for code, _ in above) | {code: int(count) for code, count in counts},
        int(usable[1]),
    )


def told(report: dict[str, Any]) -> Told:
    found = [
        (each["message"], each["line"], each["severity"] == "warning")
        for each in report["problems"]
    ]
    return found, report["problem_counts"], report["rows_usable"]


def test_three_doors_tell_the_same_of_every_odd_file(base_url: str, tmp_path: Path) -> None:
    customer = new_customer(base_url)
    browser = browser_of(member(customer))
    for case, odd in ODD.items():
        data = odd.data
        from_api, file_id = by_api(customer, odd.name, data)
        assert from_api[1] == odd.problem_counts, case
        assert from_api[2] == odd.usable, case
        assert [line for _, line, _ in from_api[0]] == [line for _, line in odd.found], case
        assert by_command(tmp_path, odd.name, data) == from_api, case
        assert by_page(customer, browser, file_id) == from_api, case


def test_no_door_takes_an_empty_file(base_url: str, tmp_path: Path) -> None:
    customer = new_customer(base_url)
    with pytest.raises(BadRequestError) as refused:
        customer.client().files.create(file=("a.jsonl", b""), purpose="fine-tune")
    assert refused.value.code == "empty_file"
    found, counts, usable = by_command(tmp_path, "a.jsonl", b"")
    assert (counts, usable) == ({"empty_file": 1}, 0)
    sent = browser_of(member(customer)).post(
        f"/t/{customer.slug}/files/upload", {"file": SimpleUploadedFile("a.jsonl", b"")}
    )
    assert (sent.status_code, found) == (400, [("The file is empty.", None, False)])


def test_a_mapping_is_the_same_by_api_and_by_command(base_url: str, tmp_path: Path) -> None:
    customer, data = new_customer(base_url), b"question,answer\na,b\nc,d\n"
    refused, file_id = by_api(customer, "a.csv", data)
    assert refused[2] == 0
    columns = {"instruction": "question", "output": "answer"}
    with customer.http() as http:
        for wrong, status, param in (
            ({"file": file_id, "columns": {"answer": "answer"}}, 400, "columns"),
            ({"file": file_id, "columns": {"output": "ans\u200bwer"}}, 400, "columns"),
            ({"file": file_id, "columns": {"instruction": 5}}, 400, "columns.instruction"),
            ({"file": file_id, "columns": columns, "colums": {}}, 400, "colums"),
            ({"file": f"file-{0:032x}", "columns": columns}, 404, "file"),
        ):
            answer = http.post("/api/v1/datasets", json=wrong)
            assert (answer.status_code, answer.json()["param"]) == (status, param)
        wish = {"file": file_id, "columns": columns}
        made = http.post("/api/v1/datasets", json=wish).json()
        assert (made["state"], made["columns"], made["report"]) == ("pending", columns, None)
        customer.check_files()
        read = http.get(f"/api/v1/datasets/{made['id']}").json()["report"]
    assert customer.client().files.retrieve(file_id).status == "processed"
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    mapping = "instruction=question, output=answer"
    done = CliRunner().invoke(app, ["check", str(path), "--columns", mapping, "--json"])
    alone = json.loads(done.stdout)
    assert (read["columns"], read["rows_usable"]) == (columns, 2)
    assert {name: read[name] for name in alone} == alone
