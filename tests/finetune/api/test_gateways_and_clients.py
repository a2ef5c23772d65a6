"""Clients and gateways that speak OpenAI's wire in their own ways, of a real server: instructor,
LangChain and LiteLLM, and every Python block of the page that tells how to use them. They are a
group of their own, `scripts/setup clients`."""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from tests.finetune.api.conftest import RANKS, ROOT, TINY
from tests.finetune.api.customers import Customer, chat_rows, new_customer

if find_spec("instructor") is None:
    pytest.skip("scripts/setup clients was not run", allow_module_level=True)
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it asks the internet for prices
# They take seconds to load, which each process that collects the tests would: tests load their own.

SAID = [{"role": "user", "content": "Turn on."}]
DRAW: dict[str, Any] = {"temperature": 1, "seed": 1, "max_tokens": 300}


class Light(BaseModel, extra="forbid"):
    """A lamp that is to be switched."""

    area: Literal["kitchen", "厨房"]
    level: int = Field(ge=0, le=9)


FUNCTION = {"name": "light", "parameters": Light.model_json_schema()}
TOOLS: list[Any] = [{"type": "function", "function": FUNCTION}]


# --- instructor


@pytest.mark.parametrize("mode", ["TOOLS", "TOOLS_STRICT", "JSON_SCHEMA"])
def test_instructor_gets_its_class(customer: Customer, model_server: None, mode: str) -> None:
    import instructor

    client = instructor.from_openai(customer.client(), mode=getattr(instructor.Mode, mode))
    asked = {"model": TINY, "response_model": Light, "messages": SAID, "max_retries": 0, **DRAW}
    assert isinstance(client.create(**asked), Light)


def test_instructor_streams_its_class(customer: Customer, model_server: None) -> None:
    import instructor

    client = instructor.from_openai(customer.client(), mode=instructor.Mode.JSON_SCHEMA)
    parts = list(client.create_partial(model=TINY, response_model=Light, messages=SAID, **DRAW))
    assert Light.model_validate(parts[-1].model_dump())
    assert len(parts) > 1


# --- LangChain


def chat_of(customer: Customer, **more: Any) -> Any:
    from langchain_openai import ChatOpenAI

    url = f"{customer.base_url}/v1"
    return ChatOpenAI(
        model=TINY, base_url=url, api_key=customer.key, max_retries=0, **(DRAW | more)
    )


@pytest.mark.parametrize("responses", [False, True])
def test_langchain_talks_whole_and_streamed(
    customer: Customer, model_server: None, responses: bool
) -> None:
    more: dict[str, Any] = {"use_responses_api": True, "seed": None} if responses else {}
    chat = chat_of(customer, max_tokens=8, temperature=0, **more)
    answer = chat.invoke("Say 3.")
    streamed = list(chat.stream("Say 3."))
    assert "".join(chunk.text for chunk in streamed) == answer.text
    assert answer.usage_metadata["output_tokens"] <= 8
    assert len(streamed) > 1


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_langchain_gets_its_class(customer: Customer, model_server: None, method: Any) -> None:
    told = chat_of(customer).with_structured_output(Light, method=method).invoke("Turn on.")
    assert isinstance(told, Light)


def test_langchain_calls_a_tool(customer: Customer, model_server: None) -> None:
    bound = chat_of(customer).bind_tools([Light], tool_choice="required")
    (call,) = bound.invoke("Turn on.", parallel_tool_calls=False).tool_calls
    assert call["name"] == "Light"
    assert Light.model_validate(call["args"])


# --- LiteLLM


def through(customer: Customer) -> dict[str, Any]:
    url = f"{customer.base_url}/v1"
    return {"model": f"openai/{TINY}", "api_base": url, "api_key": customer.key, "max_retries": 0}


def test_litellm_talks_whole_and_streamed(customer: Customer, model_server: None) -> None:
    import litellm

    asked = through(customer) | {"messages": SAID, "max_tokens": 8, "temperature": 0}
    answer = litellm.completion(**asked)
    streamed = list(litellm.completion(**asked, stream=True))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
    assert said == (answer.choices[0].message.content or "")
    assert answer.usage.completion_tokens <= 8


def test_litellm_gets_a_form_and_a_call(customer: Customer, model_server: None) -> None:
    import litellm

    asked = through(customer) | {"messages": SAID, **DRAW}
    answer = litellm.completion(**asked, response_format=Light)
    assert Light.model_validate_json(answer.choices[0].message.content)
    forced = {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False}
    (call,) = litellm.completion(**asked, **forced).choices[0].message.tool_calls
    assert call.function.name == "light"
    assert isinstance(call.function.arguments, str)


def test_litellm_asks_for_a_job(customer: Customer) -> None:
    import litellm

    of: dict[str, Any] = {
        "custom_llm_provider": "openai",
        "api_base": f"{customer.base_url}/v1",
        "api_key": customer.key,
    }
    sent = litellm.create_file(file=("rows.jsonl", chat_rows()), purpose="fine-tune", **of)
    job = litellm.create_fine_tuning_job(
        model=TINY, training_file=sent.id, hyperparameters={"n_epochs": 2}, suffix="lamps", **of
    )
    assert job.status == "validating_files"
    assert [each.id for each in litellm.list_fine_tuning_jobs(**of)] == [job.id]
    assert litellm.cancel_fine_tuning_job(fine_tuning_job_id=job.id, **of).status == "cancelled"


@pytest.mark.parametrize(
    ("provider", "below"),
    [
        ("cohere", ""),
        ("cohere", "/v1"),
        ("jina_ai", "/v1"),
        ("hosted_vllm", ""),
        ("hosted_vllm", "/v1"),
    ],
)
def test_litellm_ranks_by_each_provider(
    base_url: str, ranks: Path, model_server: None, provider: str, below: str
) -> None:
    import litellm

    customer = new_customer(base_url, models=[RANKS])
    documents = ["the hall has a fan", "", "the kitchen has a light"]
    answer = litellm.rerank(
        model=f"{provider}/{RANKS}",
        api_base=f"{base_url}{below}",
        api_key=customer.key,
        query="turn on the light",
        documents=documents,
        top_n=2,
        return_documents=True,
    )
    assert len(answer.results) == 2
    for each in answer.results:
        assert (each.get("document") or {}).get("text", "") == documents[each["index"]]


# --- the page


PAGE = (ROOT / "docs" / "how-to" / "clients.md").read_text()


@pytest.mark.parametrize(
    ("title", "package"),
    [
        ("LiteLLM (run with", "litellm"),
        ("LangChain (run with langchain-openai", "langchain-openai"),
        ("instructor (run with", "instructor"),
        ("Pydantic AI (run with", "pydantic-ai-slim"),
        ("llm (run with", "llm"),
    ],
)
def test_the_page_names_the_versions_that_are_run(title: str, package: str) -> None:
    assert f"## {title} {version(package)})" in PAGE


def test_llm_answers_as_the_page_says(
    customer: Customer, model_server: None, tmp_path: Path
) -> None:
    code = PAGE.partition("## llm")[2].partition("```sh\n")[2].partition("```")[0]
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "LLM_USER_PATH": str(tmp_path),
        "LLM_LOAD_PLUGINS": "",  # the wheel of the demo's base is one, here without its llama.cpp
        "PRIVATUNE_URL": f"{customer.base_url}/v1",
        "PRIVATUNE_API_KEY": customer.key,
        "MODEL": TINY,
    }
    done = subprocess.run(
        ["sh", "-euc", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def blocks() -> list[Any]:
    found = []
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0].partition(" (")[0]
        code = re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
        found += [pytest.param(each, id=f"{title} {number}") for number, each in enumerate(code)]
    return found


@pytest.mark.parametrize("code", blocks())
def test_the_page_runs_as_it_stands(
    base_url: str,
    tiny_model: str,
    ranks: Path,
    model_server: None,
    code: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    customer = new_customer(base_url, models=[tiny_model, RANKS])
    monkeypatch.setenv("PRIVATUNE_ROOT", base_url)
    monkeypatch.setenv("PRIVATUNE_URL", f"{base_url}/v1")
    monkeypatch.setenv("PRIVATUNE_API_KEY", customer.key)
    monkeypatch.setenv("MODEL", TINY)
    monkeypatch.setenv("BASE", TINY)
    monkeypatch.setenv("RERANKER", RANKS)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_bytes(chat_rows())
    exec(compile(code, "clients.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.strip()
