"""The artifact answers elsewhere as here: the lines of `serve/README.md`, run with stock tools."""

import json
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from finetune.models import CatalogModel
from finetune.packaging.answering import write_answering
from finetune.packaging.base import import_base
from finetune.packaging.bundle import build
from finetune.packaging.card import model_card
from finetune.packaging.passport import Passport, hub_place
from finetune.packaging.serve import serve_files
from finetune.packaging.signing import Signer
from finetune.records.encode import RowEncoder, load_tokenizer
from finetune.records.rendering import DAY
from finetune.records.thinking import SWITCH
from finetune.services.runs.publishing import base_used
from finetune.states import ExitCode
from tests.finetune.trainer.runs import events, finish, make_run, report

QUESTION = [{"role": "user", "content": "turn on the light in the kitchen please"}]
DATED = (
    "{% if not date_string is defined %}{% set date_string = 'today' %}{% endif %}\n"
    "{{ date_string }} {{ strftime_now('%d %b %Y') }} {{ strftime_now('%Y') }}\n"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def set_keys(path: Path, **keys: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


@pytest.fixture(scope="module")
def runs_on(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose settings and tokenizer stop at <|endoftext|>, its template at <|im_end|>."""
    base = Path(shutil.copytree(tiny_base, tmp_path_factory.mktemp("runs-on") / "base"))
    end = AutoTokenizer.from_pretrained(base).convert_tokens_to_ids("<|endoftext|>")
    set_keys(base / "config.json", eos_token_id=end)
    set_keys(base / "generation_config.json", eos_token_id=end)
    set_keys(base / "tokenizer_config.json", eos_token="<|endoftext|>")
    return base


@pytest.fixture(scope="module")
def place(
    runs_on: Path, passport: Passport, signer: Signer, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with `artifact`, `base` and `operator.pem`, of a model that learnt its answers."""
    folder = tmp_path_factory.mktemp("place")
    run = make_run(folder / "run", runs_on, valid=False, rows=8, epochs=40, adapter={"r": 8})
    assert finish(run) == ExitCode.DONE
    build(
        folder / "artifact",
        adapter_dir=run / "result",
        passport=passport,
        license_terms={},
        signer=signer,
        base_dir=runs_on,
    )
    (folder / "base").symlink_to(runs_on)
    (folder / "operator.pem").write_text(signer.public_pem)
    return folder


def code_blocks(readme: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)


def test_the_readmes_lines_stop_where_the_answer_ends(place, capsys, monkeypatch):
    monkeypatch.chdir(place / "artifact")
    readme = Path("serve/README.md").read_text()
    serving, merging = code_blocks(readme)
    had: dict[str, Any] = {}
    exec(serving.replace('"..."', json.dumps(QUESTION[0]["content"])), had)
    said = capsys.readouterr().out.strip()
    end = had["tokenizer"].convert_tokens_to_ids("<|im_end|>")
    answer = had["answer"][had["prompt"]["input_ids"].shape[1] :].tolist()
    assert answer.index(end) == len(answer) - 1
    assert said.startswith('{"intent"')

    theirs = GenerationConfig.from_pretrained("../base")
    on = had["model"].generate(
        **had["prompt"], generation_config=theirs, do_sample=False, max_new_tokens=200
    )[0]
    assert len(on) > len(had["answer"])  # by the base's own settings it speaks for the user, too

    exec(merging, had)
    merged = AutoModelForCausalLM.from_pretrained("../merged")
    ids = AutoTokenizer.from_pretrained("../merged").apply_chat_template(
        QUESTION, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    again = merged.generate(**ids, do_sample=False, max_new_tokens=200)[0]
    assert torch.equal(again, had["answer"])


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", "float32"), ("bf16", "bfloat16")])
def test_the_readme_loads_the_base_in_the_precision_of_the_training_and_says_so(
    passport, precision, dtype
):
    trained = passport.model_copy(update={"precision": precision})
    readme = serve_files(trained, {"r": 8}, SWITCH)["serve/README.md"]
    assert f'from_pretrained("../base", dtype="{dtype}")' in readme
    assert f"trained on the base in {dtype}" in readme
    assert getattr(torch, dtype).is_floating_point


def test_every_command_of_the_page_is_run_by_a_test(place):
    readme = (place / "artifact" / "serve" / "README.md").read_text()
    outside = re.sub(r"^```python\n.*?^```$", "", readme, flags=re.MULTILINE | re.DOTALL)
    commands = [line.strip() for line in outside.splitlines() if line.startswith("    ")]
    assert commands == ["privatune verify . --key ../operator.pem"]
    program = Path(sys.executable).with_name("privatune")
    done = subprocess.run(
        [program, *commands[0].split()[1:]],
        cwd=place / "artifact",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "```" not in outside
    assert {path.name for path in (place / "artifact" / "serve").iterdir()} == {"README.md"}


def test_weights_of_the_base_never_leave(place):
    tensors = {path.name for path in (place / "artifact").rglob("*.safetensors")}
    assert tensors == {"adapter_model.safetensors"}


def test_the_bundles_template_prints_the_day_that_training_saw(tiny_base, tmp_path):
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    (base / "chat_template.jinja").write_text(DATED)
    write_answering(base, tmp_path / "tokenizer")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    ids = theirs.apply_chat_template(QUESTION, add_generation_prompt=True)["input_ids"]
    assert ids == RowEncoder(load_tokenizer(base)).render_prompt(QUESTION)
    assert theirs.decode(ids).startswith("26 Jul 2024 26 Jul 2024 2024-07-26\n")


@pytest.mark.parametrize("switch", ["enable_thinking", "thinking"])
def test_the_bundle_turns_the_switch_by_the_name_that_the_template_has_for_it(
    tiny_base, tmp_path, passport, switch
):
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    template = base / "chat_template.jinja"
    template.write_text(template.read_text() + f"{{% if not {switch} %}}</think>{{% endif %}}")
    found = write_answering(base, tmp_path / "tokenizer")
    told = passport.model_copy(update={"hyperparameters": {"thinking": "on"}})
    text = serve_files(told, {"r": 8}, found)["serve/README.md"]
    assert f"add_generation_prompt=True, {switch}=True, return_tensors" in text
    assert f'"chat_template_kwargs": {{"{switch}": true}}' in text


def test_several_templates_are_all_handed_on(tiny_base, tmp_path):
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    (base / "chat_template.jinja").unlink()
    named = [{"name": "default", "template": DATED}, {"name": "tool_use", "template": "T" + DATED}]
    set_keys(base / "tokenizer_config.json", chat_template=named)
    write_answering(base, tmp_path / "tokenizer")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    ours = RowEncoder(load_tokenizer(base))
    tools: list[dict[str, Any]] = [{"type": "function", "function": {"name": "f"}}]
    for tool in (None, tools):
        ids = theirs.apply_chat_template(QUESTION, tools=tool, add_generation_prompt=True)
        assert ids["input_ids"] == ours.render_prompt(QUESTION, tool)


def test_the_day_that_prompts_print_is_told_by_event_report_passport_and_card(
    tiny_base, tmp_path, passport
):
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    (base / "chat_template.jinja").write_text(DATED)
    days = {}
    for name, of in (("dated", base), ("plain", tiny_base)):
        run = make_run(tmp_path / name, of, valid=False, rows=4, epochs=1)
        assert finish(run) == ExitCode.DONE
        told = [e["data"]["day"] for e in events(run) if e["code"] == "day_frozen"]
        day = report(run)["printed_day"]
        assert told == ([day] if day else [])
        days[name] = day
    assert days == {"dated": DAY, "plain": None}
    encoder = RowEncoder(load_tokenizer(base))
    prompt = encoder.tokenizer.decode(encoder.render_prompt(QUESTION, None))
    assert date.fromisoformat(DAY).strftime("%d %b %Y") in prompt
    dated = passport.model_copy(update={"printed_day": DAY})
    assert f"it writes {DAY}" in model_card(dated, "MIT")
    assert DAY not in model_card(passport, "MIT")


def test_the_terms_of_the_base_go_with_its_files(tiny_base, tmp_path):
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    (base / "LICENSE.txt").write_text("terms")
    write_answering(base, tmp_path / "tokenizer")
    assert (tmp_path / "tokenizer" / "LICENSE.txt").read_text() == "terms"


def test_an_import_warns_of_a_base_that_elsewhere_would_run_on(runs_on, tiny_base, tmp_path):
    def notices(base: Path) -> list[str]:
        info = import_base(
            base, tmp_path / "store", name="tiny", licence="MIT", source_label="here"
        )
        return [notice for notice in info.notices if "<|im_end|>" in notice]

    assert len(notices(runs_on)) == 1
    assert not notices(tiny_base)


def test_vllm_is_offered_only_what_it_takes(passport):
    def said(**config: Any) -> str:
        readme = serve_files(passport, config, SWITCH)["serve/README.md"]
        return next(line for line in readme.splitlines() if line.startswith("| vLLM"))

    assert "`max_lora_rank` of 16" in said(r=12)
    assert "no DoRA adapters" in said(r=8, use_dora=True)
    assert "no adapters of rank 1000" in said(r=1000)


def test_no_file_names_a_place_of_the_operators(adapter, passport, signer, tiny_base, tmp_path):
    secret = tmp_path / "mnt" / "operators-secret-disk"
    base = Path(shutil.copytree(tiny_base, secret / "tiny"))
    for name in ("config.json", "tokenizer_config.json"):
        set_keys(base / name, _name_or_path=str(base), name_or_path=str(base))
    model = CatalogModel(
        name="tiny",
        digest=passport.base.digest,
        licence="MIT",
        architecture="LlamaForCausalLM",
        parameters=1,
        source=str(base),
    )
    told = passport.model_copy(update={"base": base_used(model)})
    build(
        tmp_path / "out",
        adapter_dir=adapter,
        passport=told,
        license_terms={},
        signer=signer,
        base_dir=base,
    )
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert b"operators-secret-disk" not in path.read_bytes(), path.name


@pytest.mark.parametrize(
    "source",
    ["/srv/models/tiny", "models/tiny", "./models/tiny", "~/tiny", "tiny.gguf", "a/b@main"],
)
def test_only_a_download_s_hub_id_and_commit_are_told(source):
    assert hub_place(source) == {}
