"""Each architecture on the list, tiny and random, all the way: imported, trained, stopped and
resumed to the same bytes, packed, verified, served beside other rows, asked again by stock peft."""

import json
import runpy
import subprocess
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from finetune.families.causal_lm import adapted
from finetune.families.causal_lm.architectures import ARCHITECTURES
from finetune.families.causal_lm.family import CAUSAL_LM
from finetune.families.contract import AdapterSpec
from finetune.families.layers import linear_layers
from finetune.packaging.base import import_base
from finetune.packaging.bundle import build
from finetune.packaging.passport import Passport
from finetune.packaging.serve import loader_of
from finetune.packaging.signing import Signer
from finetune.packaging.verify import verify
from finetune.serving.bases import load_base
from finetune.serving.lane import Lane, Limits
from finetune.serving.protocol import Delta
from finetune.serving.ticket import Ticket, encode_prompt
from finetune.states import ExitCode
from finetune.trainer.lifeline import Yielded
from finetune.trainer.loop import train
from tests.finetune.families.bases import BASES
from tests.finetune.serving.conftest import ask, read_files
from tests.finetune.trainer.runs import StopAfter, chat_rows, encoded, finish, make_run, result_hash

# the second is longer than any window, and both are answered in one batch
QUESTIONS = ("开灯", "turn on the light in the kitchen please, " * 3)
SCRIPTS = Path(__file__).parents[3] / "scripts"
ANSWERED = 12  # tokens


class Answered(NamedTuple):
    """Of one question: the prompt, what the adapter answers, what the base alone does."""

    prompt: list[int]
    adapted: list[int]
    plain: list[int]


@dataclass(frozen=True)
class Made:
    base: Path
    artifact: Path
    architecture: str
    answers: list[Answered]


class Workshop:
    """Makes each once, for whichever test asks first."""

    def __init__(self, root: Path, passport: Passport, signer: Signer) -> None:
        self.root, self._passport, self._signer = root, passport, signer
        self._made: dict[str, Made] = {}

    def made(self, name: str) -> Made:
        if name not in self._made:
            self._made[name] = self._make(name, self.root / name)
        return self._made[name]

    def _make(self, name: str, folder: Path) -> Made:
        source = BASES[name].write(folder / "source")
        info = import_base(source, folder, name="tiny", licence="MIT", source_label="test")
        assert info.architecture in ARCHITECTURES
        base = folder / info.path
        for step in CAUSAL_LM.rehearsal(base, "fp32"):  # as where precisions are compared
            step()
        run = _trained(folder / "run", base)
        assert _interrupted(folder / "again", base) == result_hash(run)
        used = self._passport.base.model_copy(update={"architecture": info.architecture})
        build(
            folder / "artifact",
            adapter_dir=run / "result",
            passport=self._passport.model_copy(update={"base": used}),
            license_terms={},
            signer=self._signer,
            base_dir=base,
        )
        report = verify(folder / "artifact", trusted_fingerprint=self._signer.fingerprint)
        assert report.ok, report.problems
        answers = _served(base, info.digest, folder / "artifact" / "adapter")
        return Made(base, folder / "artifact", info.architecture, answers)


def _settings() -> dict[str, Any]:
    return {"adapter": {"r": 4}, "epochs": 2, "batch_size": 3, "save_every": 1}


def _trained(folder: Path, base: Path) -> Path:
    run = make_run(folder, base, valid=False, rows=6, **_settings())
    assert finish(run) == ExitCode.DONE
    return run


def _interrupted(folder: Path, base: Path) -> str:
    """Stopped after two steps, and gone on with."""
    run = make_run(folder, base, valid=False, rows=6, **_settings())
    with pytest.raises(Yielded):
        train(run, StopAfter(3))
    assert finish(run) == ExitCode.DONE
    return result_hash(run)


def _served(base: Path, digest: str, adapter_dir: Path) -> list[Answered]:
    """All in one batch."""
    loaded = load_base(base, digest, "fp32")
    adapter = loaded.model.read_adapter(*read_files(adapter_dir))
    tickets, lane = [], Lane(loaded, Limits())
    told: list[Any] = []
    for text, used in product(QUESTIONS, (adapter, None)):
        message = [{"role": "user", "content": text}]
        request = ask(messages=message, max_tokens=ANSWERED)
        ids = encode_prompt(loaded, request)
        tickets.append(Ticket(request, loaded, used, ids, told.append))
        lane.add(tickets[-1])
    while not lane.idle:
        lane.step()
    assert all(isinstance(each, Delta) for each in told), told
    said = [ticket.choices[0].ids[len(ticket.prompt) :] for ticket in tickets]
    prompts = [ticket.prompt for ticket in tickets[::2]]
    return [Answered(*each) for each in zip(prompts, said[::2], said[1::2], strict=True)]


@pytest.fixture(scope="module")
def workshop(
    passport: Passport, signer: Signer, tmp_path_factory: pytest.TempPathFactory
) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("architectures"), passport, signer)


def test_each_on_the_list_has_a_base_here_and_a_line_in_the_docs() -> None:
    assert {base.architecture for base in BASES.values()} == set(ARCHITECTURES)
    table = runpy.run_path(str(SCRIPTS / "architectures_table.py"))
    assert table["TARGET"].read_text("utf-8") == table["page"](), (
        "run scripts/architectures_table.py"
    )


@pytest.mark.parametrize("name", BASES)
def test_it_is_imported_trained_resumed_to_the_bit_packed_and_served(
    workshop: Workshop, name: str
) -> None:
    made = workshop.made(name)
    assert all(each.adapted != each.plain for each in made.answers)
    config = json.loads((made.artifact / "adapter" / "adapter_config.json").read_bytes())
    assert "target_parameters" not in config


@pytest.mark.parametrize("name", BASES)
def test_its_loss_and_gradients_are_those_of_each_row_alone(workshop: Workshop, name: str) -> None:
    """Through transformers' own attention, with the same adapter on the layers that its files tell
    of, in float64."""
    base = workshop.made(name).base
    model = adapted.load(base, AdapterSpec(r=4), precision="fp64", device="cpu", seed=3)
    # told without loading: what a job's targets and its adapter's size are checked against
    assert {layer.name: (layer.out, layer.into) for layer in linear_layers(base)} == {
        name: (layer.up.shape[0], layer.down.shape[1])
        for name, layer in model.trained.adapter.layers.items()
    }
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters:
            parameter.add_(0.05 * torch.randn_like(parameter))
    rows = encoded(base, chat_rows(3))
    ours = model.cross_entropy(model.lay_out(rows, share_prefixes=True))[0]
    gradients = torch.autograd.grad(ours, model.parameters)
    model.inner.set_attn_implementation("sdpa" if model.inner._supports_sdpa else "eager")
    theirs = torch.zeros((), dtype=torch.float64)
    for row in rows:
        ids = torch.tensor([list(row.input_ids)])
        logits = model.inner(input_ids=ids, use_cache=False).logits[0, :-1]
        labels = ids[0, 1:].masked_fill(~torch.tensor(row.labels[1:]), -100)
        theirs = theirs + torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    expected = torch.autograd.grad(theirs, model.parameters)
    # transformers' norms and routers compute in float32 whatever the model is in
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


# Stock tools alone: the bundle's own tokenizer, settings and adapter, on the base that was imported
ASKING = """
import json, sys
import torch, transformers
from peft import PeftModel
from transformers import AutoTokenizer, GenerationConfig
torch.set_num_threads(1)
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
found = {}
asked, questions, count = json.load(sys.stdin)
for name, (base, artifact, loader) in asked.items():
    tokenizer = AutoTokenizer.from_pretrained(artifact + "/tokenizer")
    settings = GenerationConfig.from_pretrained(artifact + "/tokenizer")
    plain = getattr(transformers, loader).from_pretrained(base)
    model = PeftModel.from_pretrained(plain, artifact + "/adapter")
    found[name] = []
    for question in questions:
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            add_generation_prompt=True, return_tensors="pt", return_dict=True,
        )
        ids = prompt["input_ids"][0].tolist()
        def answer():
            return model.generate(
                **prompt, generation_config=settings, do_sample=False, max_new_tokens=count
            )[0].tolist()[len(ids):]
        adapted = answer()
        with model.disable_adapter():
            found[name].append([ids, adapted, answer()])
json.dump(found, sys.stdout)
"""


def test_every_artifact_answers_in_a_new_process_with_stock_peft_as_here(
    workshop: Workshop,
) -> None:
    all_made = {name: workshop.made(name) for name in BASES}
    asked = {
        name: (str(made.base), str(made.artifact), loader_of(made.architecture))
        for name, made in all_made.items()
    }
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASKING],
        input=json.dumps([asked, QUESTIONS, ANSWERED]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    here = {name: [list(each) for each in made.answers] for name, made in all_made.items()}
    assert json.loads(child.stdout) == here
