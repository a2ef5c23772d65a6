"""What sentence-transformers needs beside the base's weights to make the same vectors: adapter,
tokenizer, pooling, prompts and length (`embedder/`). Never the base's weights."""

import json
import shutil
from pathlib import Path
from typing import Any

from finetune.packaging.base.config import cleaned, read_json
from finetune.packaging.base.folder import PLAIN_FILES, is_terms
from finetune.packaging.files import pretty_json
from finetune.records.recipe import Recipe, read_recipe

BASE = "../base"  # where the base lies for whoever starts in the artifact's folder
_MODULES = ("Transformer", "Pooling", "Normalize")


def write_embedder(base_dir: Path, artifact: Path) -> Recipe:
    """Fill `embedder/` of the artifact, whose `adapter/` is there."""
    recipe, folder = read_recipe(base_dir), artifact / "embedder"
    folder.mkdir()
    for path in sorted(base_dir.iterdir()):
        if path.name in PLAIN_FILES or is_terms(path.name):
            shutil.copyfile(path, folder / path.name)
    adapter = artifact / "adapter"
    shutil.copyfile(adapter / "adapter_model.safetensors", folder / "adapter_model.safetensors")
    config = json.loads((adapter / "adapter_config.json").read_bytes())
    written: dict[str, Any] = {
        "adapter_config.json": config | {"base_model_name_or_path": BASE},
        "tokenizer_config.json": cleaned(
            read_json(base_dir / "tokenizer_config.json", code="bad_config")
        ),
        "sentence_bert_config.json": {
            "max_seq_length": recipe.max_length,
            "do_lower_case": recipe.lower_case,
        },
        "config_sentence_transformers.json": {
            "prompts": recipe.prompts,
            "default_prompt_name": recipe.default_prompt,
            "similarity_fn_name": "cosine",
        },
        "modules.json": [
            {
                "idx": number,
                "name": str(number),
                "path": f"{number}_{name}" if number else "",
                "type": f"sentence_transformers.models.{name}",
            }
            for number, name in enumerate(_MODULES[: 3 if recipe.normalize else 2])
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": _width(base_dir),
            **_pooling(recipe),
        },
    }
    for name, value in written.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(pretty_json(value))
    return recipe


def _pooling(recipe: Recipe) -> dict[str, bool]:
    """By the names that every version of sentence-transformers reads."""
    names = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}
    told = names | {"lasttoken": "lasttoken"}
    return {f"pooling_mode_{name}": mode == recipe.pooling for mode, name in told.items()}


def _width(base_dir: Path) -> int:
    config = read_json(base_dir / "config.json", code="bad_config")
    return int(config.get("hidden_size") or config["dim"])
