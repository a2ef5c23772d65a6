"""What sentence-transformers needs beside the base's weights to make the same vectors or scores:
adapter, tokenizer, and pooling, prompts and length (`embedder/`), or what a score is made of
(`reranker/`). Never the base's weights."""

import json
import shutil
from pathlib import Path
from typing import Any

from finetune.packaging.base.config import cleaned, read_json
from finetune.packaging.base.folder import PLAIN_FILES, is_terms
from finetune.packaging.files import pretty_json
from finetune.records.ranking import Ranking, read_ranking
from finetune.records.recipe import Recipe, read_recipe

BASE = "../base"  # where the base lies for whoever starts in the artifact's folder
_PLACES = {"Sigmoid": "activation", "Identity": "linear"}  # of torch's classes
_MODULES = ("Transformer", "Pooling", "Normalize")


def write_embedder(base_dir: Path, artifact: Path) -> Recipe:
    """Fill `embedder/` of the artifact, whose `adapter/` is there."""
    recipe, folder = read_recipe(base_dir), artifact / "embedder"
    written: dict[str, Any] = {
        **_begun(base_dir, artifact, folder),
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
    _write(folder, written)
    return recipe


def write_reranker(base_dir: Path, artifact: Path) -> Ranking:
    """Fill `reranker/` of the artifact, as `write_embedder`."""
    ranking, folder = read_ranking(base_dir), artifact / "reranker"
    written = _begun(base_dir, artifact, folder)
    written["tokenizer_config.json"]["model_max_length"] = ranking.max_length
    kind = "Sigmoid" if ranking.sigmoid else "Identity"
    module = "sentence_transformers.base.modules.transformer.Transformer"
    _write(
        folder,
        {
            **written,
            # Told here, since without modules a config.json would be asked for, and then weights
            "modules.json": [{"idx": 0, "name": "0", "path": "", "type": module}],
            "sentence_bert_config.json": {"transformer_task": "sequence-classification"},
            "config_sentence_transformers.json": {
                "model_type": "CrossEncoder",
                "activation_fn": f"torch.nn.modules.{_PLACES[kind]}.{kind}",
            },
        },
    )
    return ranking


def _begun(base_dir: Path, artifact: Path, folder: Path) -> dict[str, Any]:
    """The new folder with tokenizer, terms and adapter; returns what else is written of them."""
    folder.mkdir()
    for path in sorted(base_dir.iterdir()):
        if path.name in PLAIN_FILES or is_terms(path.name):
            shutil.copyfile(path, folder / path.name)
    adapter = artifact / "adapter"
    shutil.copyfile(adapter / "adapter_model.safetensors", folder / "adapter_model.safetensors")
    config = json.loads((adapter / "adapter_config.json").read_bytes())
    return {
        "adapter_config.json": config | {"base_model_name_or_path": BASE},
        "tokenizer_config.json": cleaned(
            read_json(base_dir / "tokenizer_config.json", code="bad_config")
        ),
    }


def _write(folder: Path, written: dict[str, Any]) -> None:
    for name, value in written.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(pretty_json(value))


def _pooling(recipe: Recipe) -> dict[str, bool]:
    """By the names that every version of sentence-transformers reads."""
    names = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}
    told = names | {"lasttoken": "lasttoken"}
    return {f"pooling_mode_{name}": mode == recipe.pooling for mode, name in told.items()}


def _width(base_dir: Path) -> int:
    config = read_json(base_dir / "config.json", code="bad_config")
    return int(config.get("hidden_size") or config["dim"])
