"""What `privatune up` prints when it is ready can be pasted as it stands."""

import shlex
from typing import Any

from privatune.stack.banner import NO_KEY, YOUR_OWN, banner

FIRST: dict[str, Any] = {
    "api_key": "pt-1",
    "tenant": "demo",
    "login": {"email": "owner@demo.example", "password": "secret"},
    "operator": {"email": "operator@demo.example", "password": None},
    "samples": {
        "model": "small", "train": "/my data/train.jsonl", "validation": "/my data/valid.jsonl",
        "questions": "/my data/questions.jsonl",
    },
}  # fmt: skip


def test_the_banner_names_the_samples_and_a_job_to_paste() -> None:
    said = banner("http://127.0.0.1:8000", FIRST)
    assert YOUR_OWN in said
    [job] = [part for part in said.replace("\\\n", "").splitlines() if "jobs create" in part]
    assert shlex.split(job)[:3] == ["privatune", "jobs", "create"]
    assert {"small", "/my data/train.jsonl", "/my data/valid.jsonl"} <= set(shlex.split(job))
    assert "/my data/questions.jsonl" in said
    assert "export PRIVATUNE_API_KEY=pt-1" in said


def test_the_banner_without_samples_or_key_asks_for_neither() -> None:
    said = banner("http://127.0.0.1:8000", FIRST | {"samples": None, "api_key": None})
    assert "jobs create" not in said
    assert NO_KEY in said
