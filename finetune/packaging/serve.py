"""How to run the artifact elsewhere with stock tools (`serve/`)."""

from finetune.packaging.passport import Passport

_README = """\
# Serving {name}

The adapter works with one base: {base}, digest `{digest}` (from {source}). Put that base beside
this folder as `base/`, or give its path below.

Check first that nothing was changed, with the operator's public key from a source you trust:

    privatune verify . --key operator.pem

## peft

    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = "base"
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), "adapter")
    chat = [{{"role": "user", "content": "..."}}]
    prompt = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True{switch}, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**prompt, max_new_tokens=200)[0]
    print(tokenizer.decode(answer[prompt["input_ids"].shape[1]:], skip_special_tokens=True))

## vLLM, an OpenAI-compatible server

    vllm serve base --enable-lora --max-lora-rank {rank} --lora-modules tuned=adapter

or with a container and one GPU, in this folder (`serve/compose.yaml`):

    BASE=/path/to/base docker compose -f serve/compose.yaml up

Then ask for the model `tuned` at http://127.0.0.1:8000/v1{asked}.
"""

_THINKING = """\
,
as it was trained to be asked: thinking {word}. In a request to vLLM that is

    "chat_template_kwargs": {{"enable_thinking": {json}}}

A base whose chat template has no such switch takes no notice of it. `--reasoning-parser` of
`vllm serve` gives what the model thinks apart from what it says"""

_COMPOSE = """\
# Start in the artifact's folder: BASE=/path/to/base docker compose -f serve/compose.yaml up
services:
  model:
    image: ${{VLLM_IMAGE:-vllm/vllm-openai:latest}}
    command: >-
      --model /base --enable-lora --max-lora-rank {rank} --lora-modules tuned=/artifact/adapter
    environment:
      HF_HUB_OFFLINE: "1"
    ports: ["127.0.0.1:8000:8000"]
    volumes:
      - ${{BASE:?set BASE to the folder of the base model}}:/base:ro
      - ..:/artifact:ro
    deploy:
      resources:
        reservations:
          devices: [{{driver: nvidia, count: 1, capabilities: [gpu]}}]
"""

# vLLM takes these ranks only
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


def serve_files(passport: Passport, rank: int) -> dict[str, str]:
    """File name -> text, for an adapter of LoRA rank `rank`."""
    allowed = next((size for size in _RANKS if size >= rank), _RANKS[-1])
    base = passport.base
    readme = _README.format(
        name=passport.name,
        base=base.name,
        digest=base.digest,
        source=base.source,
        rank=allowed,
        switch=_switch(passport),
        asked=_asked(passport),
    )
    return {"serve/README.md": readme, "serve/compose.yaml": _COMPOSE.format(rank=allowed)}


def _switch(passport: Passport) -> str:
    """The argument of `apply_chat_template`; none where the base knows no thinking."""
    thinking = passport.hyperparameters.get("thinking")
    return "" if thinking is None else f", enable_thinking={thinking == 'on'}"


def _asked(passport: Passport) -> str:
    thinking = passport.hyperparameters.get("thinking")
    if thinking is None:
        return ""
    return _THINKING.format(word=thinking, json="true" if thinking == "on" else "false")
