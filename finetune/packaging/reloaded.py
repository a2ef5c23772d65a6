"""`python -m finetune.packaging.reloaded FOLDER`: what a merged model says, by transformers alone,
in a process that has seen neither the base nor the adapter.

FOLDER/asked.json has the rows; leaves FOLDER/said.safetensors and FOLDER/said.json.
"""

import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from finetune.lifeline import die_with_parent

ASKED, LOGITS, ANSWERS = "asked.json", "said.safetensors", "said.json"


class Asked(BaseModel):
    """`loader`: transformers' auto class; `rows`: tokens; `tokens`: of an answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path
    loader: str
    rows: list[list[int]]
    tokens: int


class Answers(BaseModel):
    """`texts`: as the model's own tokenizer reads `tokens`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: list[list[int]]
    texts: list[str]


def main(folder: Path) -> None:
    import torch

    with torch.inference_mode():
        _ask(folder, Asked.model_validate_json((folder / ASKED).read_bytes()))


def _ask(folder: Path, asked: Asked) -> None:
    import torch
    import transformers
    from safetensors.torch import save_file
    from transformers import AutoTokenizer, GenerationConfig

    loader = getattr(transformers, asked.loader)
    model = loader.from_pretrained(asked.model, dtype=torch.float32, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(asked.model, local_files_only=True)
    settings = GenerationConfig.from_pretrained(asked.model, local_files_only=True)
    settings.do_sample, settings.max_new_tokens = False, asked.tokens
    logits, answers = [], []
    for row in asked.rows:
        ids = torch.tensor([row])
        logits.append(model(input_ids=ids, use_cache=False).logits[0].float())
        found = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=settings,
        )
        answers.append(found[0, len(row) :].tolist())
    save_file({"logits": torch.cat(logits)}, folder / LOGITS)
    told = Answers(tokens=answers, texts=tokenizer.batch_decode(answers))
    (folder / ANSWERS).write_text(told.model_dump_json(), encoding="utf-8")


if __name__ == "__main__":
    die_with_parent()
    main(Path(sys.argv[1]))
