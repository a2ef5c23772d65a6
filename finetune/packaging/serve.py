"""What can serve the artifact elsewhere, and how: `serve/README.md`. Tests run its commands."""

from typing import Any

from finetune.packaging.needs import lowest_peft
from finetune.packaging.passport import BaseUsed, Passport

_README = """\
# Serving {name}

{base}

Start everything below in this folder. Check first that nothing was changed, with the operator's
public key from a source that you trust:

    privatune verify . --key ../operator.pem

## What can serve it

| tool | this adapter |
|---|---|
| peft {peft} or later, with transformers | as it is, see below |
| vLLM | {vllm} |
| whatever loads a transformers model folder | merged into its base, see below |

## peft

`tokenizer/` has the base's tokenizer, its chat template with the day that training saw wherever it
writes the date, and in `generation_config.json` every token that ends an answer. Take them from
here and not from the base: its own may name fewer.

```python
from peft import PeftModel
from transformers import {loader}, AutoTokenizer, GenerationConfig

tokenizer = AutoTokenizer.from_pretrained("tokenizer")
settings = GenerationConfig.from_pretrained("tokenizer")
base = {loader}.from_pretrained("../base", dtype="{dtype}")
model = PeftModel.from_pretrained(base, "adapter")
chat = [{{"role": "user", "content": "..."}}]
prompt = tokenizer.apply_chat_template(
    chat, add_generation_prompt=True{switch}, return_tensors="pt", return_dict=True
)
answer = model.generate(
    **prompt, generation_config=settings, do_sample=False, max_new_tokens=200
)[0]
print(tokenizer.decode(answer[prompt["input_ids"].shape[1]:], skip_special_tokens=True))
```

The adapter was trained on the base in {dtype}, and `dtype` loads it so. Another precision
(Privatune itself serves in bfloat16 where the processor multiplies it, and so does vLLM by default
for most bases) rounds differently: where two tokens are nearly equal, the answer may be another.

Without `do_sample=False` it samples at temperature 1, as Privatune does for a request that names
none.{asked}

## Merged into its base

Goes on from the lines above. The result is rounded to the base's precision, so its answers can
differ a little.

```python
model.merge_and_unload().save_pretrained("../merged")
tokenizer.save_pretrained("../merged")
settings.save_pretrained("../merged")
```
"""

_EMBEDDER = """\
# Making vectors with {name}

{base}

Start everything below in this folder. Check first that nothing was changed, with the operator's
public key from a source that you trust:

    privatune verify . --key ../operator.pem

## sentence-transformers

`embedder/` is a folder for sentence-transformers, with peft {peft} or later: the adapter, the
tokenizer, pooling, prompts and length as in training. It takes the base's weights from `../base`,
in {dtype}.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("embedder", model_kwargs={{"dtype": "{dtype}"}})
queries = model.encode_query(["what is searched with"])
documents = model.encode_document(["what is found", "and what is not"])
print(model.similarity(queries, documents))
```

## peft

`adapter/` is the same adapter by itself, for the base's body as `transformers.AutoModel` loads it.
"""

_RERANKER = """\
# Ranking with {name}

{base}

Start everything below in this folder. Check first that nothing was changed, with the operator's
public key from a source that you trust:

    privatune verify . --key ../operator.pem

## sentence-transformers

`reranker/` is a folder for sentence-transformers 6.2 or later, with peft {peft} or later: the
adapter, the tokenizer, the length, and what a score is made of. It takes the base's weights, its
head among them, from `../base`, in {dtype}.

```python
from sentence_transformers import CrossEncoder

model = CrossEncoder("reranker", model_kwargs={{"dtype": "{dtype}"}})
for found in model.rank("what is asked", ["what may answer", "and what may not"]):
    print(found["corpus_id"], found["score"])
```

## peft

`adapter/` is the same adapter by itself, for the base as
`transformers.AutoModelForSequenceClassification` loads it.
"""

_SCORER = """\
# Scoring with {name}

{base}

Start everything below in this folder. Check first that nothing was changed, with the operator's
public key from a source that you trust:

    privatune verify . --key ../operator.pem

## peft

With peft {peft} or later. `adapter/` holds the adapter and the head that was trained with it
(`score`); that transformers says it had to draw one anew is of the base alone. `tokenizer/` has the
base's tokenizer and its chat template. A higher number is a better last answer.

```python
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("tokenizer")
base = AutoModelForSequenceClassification.from_pretrained(
    "../base", num_labels=1, dtype="{dtype}", ignore_mismatched_sizes=True
){widened}
base.config.pad_token_id = None
model = PeftModel.from_pretrained(base, "adapter").eval()
chat = [{{"role": "user", "content": "..."}}, {{"role": "assistant", "content": "..."}}]
tokens = tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=True)
with torch.no_grad():
    print(model(**tokens).logits.item())
```

One conversation at a time needs no padding, and without a padding token the number is read off the
last one, as in training. For batches, set `pad_token_id` to a token that no conversation ends with.
"""

_THINKING = """

The model is asked as it was trained to be asked: thinking {word}. Tools that take requests name it
`"chat_template_kwargs": {{"{switch}": {json}}}`. A base whose chat template has no such
switch takes no notice of it."""

_LOADERS = {"Mistral3ForConditionalGeneration": "AutoModelForImageTextToText"}

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp64": "float64"}  # as transformers names them

# vLLM takes these ranks only
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


def serve_files(passport: Passport, config: dict[str, Any], switch: str) -> dict[str, str]:
    """File name -> text, for an adapter of that adapter_config.json. `switch`: what the base's chat
    template calls the one for thinking."""
    if passport.recipe is not None:
        readme = _EMBEDDER.format(
            name=passport.name, base=_base(passport.base), peft=lowest_peft(config),
            dtype=_DTYPES[passport.precision],
        )  # fmt: skip
        return {"serve/README.md": readme}
    if passport.ranking is not None:
        readme = _RERANKER.format(
            name=passport.name, base=_base(passport.base), peft=lowest_peft(config),
            dtype=_DTYPES[passport.precision],
        )  # fmt: skip
        return {"serve/README.md": readme}
    if passport.family == "scoring":
        readme = _SCORER.format(
            name=passport.name, base=_base(passport.base), peft=lowest_peft(config),
            dtype=_DTYPES[passport.precision],
            widened="" if passport.precision == "fp64" else ".float()",
        )  # fmt: skip
        return {"serve/README.md": readme}
    readme = _README.format(
        name=passport.name,
        dtype=_DTYPES[passport.precision],
        base=_base(passport.base),
        peft=lowest_peft(config),
        vllm=_vllm(config),
        loader=loader_of(passport.base.architecture),
        switch=_switch(passport, switch),
        asked=_asked(passport, switch),
    )
    return {"serve/README.md": readme}


def loader_of(architecture: str) -> str:
    """transformers' auto class that knows the whole base: the adapter names its modules."""
    return _LOADERS.get(architecture, "AutoModelForCausalLM")


def _switch(passport: Passport, switch: str) -> str:
    """The argument of `apply_chat_template`; none where the base knows no thinking."""
    thinking = passport.hyperparameters.get("thinking")
    return "" if thinking is None else f", {switch}={thinking == 'on'}"


def _asked(passport: Passport, switch: str) -> str:
    thinking = passport.hyperparameters.get("thinking")
    if thinking is None:
        return ""
    value = "true" if thinking == "on" else "false"
    return _THINKING.format(word=thinking, switch=switch, json=value)


def _base(base: BaseUsed) -> str:
    found = (
        f"the model {base.hub_id} of the Hugging Face hub at revision {base.revision}"
        if base.hub_id
        else "the operator's copy; ask them which release it is"
    )
    return (
        f"The adapter works with one base: {base.name}, digest `{base.digest}`, {found}.\n"
        "Put it beside this folder as `../base`."
    )


def _vllm(config: dict[str, Any]) -> str:
    if config.get("use_dora"):
        return "takes no DoRA adapters: merge it first"
    allowed = next((size for size in _RANKS if size >= config["r"]), None)
    if allowed is None:
        return f"takes no adapters of rank {config['r']}: merge it first"
    return f"takes LoRA adapters; this one needs a `max_lora_rank` of {allowed} (not tried here)"
