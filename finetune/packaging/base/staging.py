"""Fill a staging folder with exactly the files of one base, every one of them checked."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import OurFault, UserFault
from finetune.families import family, family_of, give_head
from finetune.families.contract import Family, Shape
from finetune.packaging.base.config import cleaned, code_keys, read_json
from finetune.packaging.base.folder import CONFIG_FILES, select_files
from finetune.packaging.base.gguf import unpack_gguf
from finetune.packaging.base.info import StoredFileInfo
from finetune.packaging.base.tokenizer import (
    check_prompts,
    check_tokenizer,
    infilling_dialect,
    install_template,
    name_infilling,
    require_template,
    require_tokenizer,
)
from finetune.packaging.base.weights import check_weights
from finetune.packaging.files import copy_hashed, digest_of, pretty_json, sha256_file
from finetune.records.ranking import RANKING, Ranking, names_ranker, read_ranking
from finetune.records.recipe import RECIPE, Recipe, has_recipe, read_recipe

MOST_LAYERS = 1000
Progress = Callable[[str, int, int], None]  # phase (unpack, copy, check), bytes done, bytes in all


@dataclass(frozen=True)
class Staged:
    """A finished folder and the fields of BaseModelInfo that follow from its bytes."""

    folder: Path
    facts: dict[str, Any]


def stage(
    source: Path,
    staging: Path,
    chat_template: Path | None,
    infilling: str | None,
    told: Progress,
    *,
    head: bool = False,
) -> Staged:
    """Copy and check `source` below `staging`; nothing in `source` is changed."""
    notices: list[str] = []
    if source.is_file():
        source, notices = _unpack(source, staging / "unpacked", told)
    names, left_behind = select_files(source)
    if head:
        give_head(source, headed := staging / "headed")
        source, (names, _) = headed, select_files(headed)
        notices.append("A head of one label was drawn for it; it ranks nothing before it is tuned.")
    config = read_json(source / "config.json", code="bad_config")
    embeds = has_recipe(source) and not names_ranker(config)
    name, architecture = family_of(config, "config.json", embeds=embeds)
    _refuse_quantised(config)
    require_tokenizer(source)
    recipe = _recipe(name, source)
    if recipe is None:
        require_template(source, chat_template)
    elif chat_template is not None:
        raise UserFault(
            "not_a_chat_model",
            "This model writes no text, and no chat template is asked.",
            fix="Leave --chat-template out.",
            param="chat_template",
        )
    _require_space(source, names, staging)
    target = staging / "model"
    target.mkdir()
    hashes = _copy(source, target, names, told)
    notices += left_behind + _clean_configs(target)
    if chat_template is not None:
        install_template(target, chat_template)
    if infilling is not None:
        name_infilling(target, infilling)
    if recipe is not None:
        kept = RECIPE if isinstance(recipe, Recipe) else RANKING
        (target / kept).write_bytes(pretty_json(recipe.model_dump(mode="json")))
    facts, found = _check(target, names, told, family(name), recipe)
    return Staged(
        target,
        {
            **facts,
            "architecture": architecture,
            "family": name,
            "model_type": config["model_type"],
            "notices": notices + found,
            **_identity(target, hashes),
        },
    )


def _recipe(name: str, source: Path) -> Recipe | Ranking | None:
    """How one that makes vectors or scores does it; None: it writes. Raises UserFault."""
    match name:
        case "embedding":
            return read_recipe(source)
        case "reranking":
            return read_ranking(source)
    return None


def _unpack(source: Path, folder: Path, told: Progress) -> tuple[Path, list[str]]:
    size = source.stat().st_size
    told("unpack", 0, size)
    folder.mkdir()
    notices = unpack_gguf(source, folder)
    told("unpack", size, size)
    return folder, notices


def _refuse_quantised(config: dict[str, Any]) -> None:
    if config.get("quantization_config"):
        raise UserFault(
            "weights_dtype",
            f"config.json says that the weights are quantised ({_method(config)}); they cannot be "
            "a training base: an adapter made on them would not fit the full model.",
            where="config.json",
            fix="Import the model's full-precision weights (bfloat16, float16 or float32); of "
            "gpt-oss, whose own release is MXFP4, a bfloat16 copy.",
        )


def _method(config: dict[str, Any]) -> str:
    quantisation = config["quantization_config"]
    named = quantisation.get("quant_method") if isinstance(quantisation, dict) else None
    return str(named or "by a method that it does not name")


def _require_space(source: Path, names: list[str], folder: Path) -> None:
    needed = sum((source / name).stat().st_size for name in names)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OurFault(
            "store_full",
            f"The model needs {needed:,} bytes, the model store's disk has {free:,} left.",
            where=str(folder.parent),
            fix="Free space or move the store, then import again.",
        )


def _copy(source: Path, target: Path, names: list[str], told: Progress) -> dict[str, str]:
    """Copy `names`; returns their SHA-256 as copied."""
    total = sum((source / name).stat().st_size for name in names)
    done = 0

    def piece(size: int) -> None:
        nonlocal done
        done += size
        told("copy", done, total)

    return {name: copy_hashed(source / name, target / name, piece) for name in names}


def _clean_configs(folder: Path) -> list[str]:
    """Rewrite the configs without keys that can name code or a place; returns a notice if so."""
    dropped: set[str] = set()
    for path in (folder / name for name in CONFIG_FILES):
        if not path.is_file():
            continue
        value = read_json(path, code="bad_config")
        plain = cleaned(value)
        if plain != value:
            dropped |= code_keys(value)
            path.write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n", "utf-8")
    if not dropped:
        return []
    return [f"Configuration keys that name code were dropped: {', '.join(sorted(dropped))}"]


def _check(
    folder: Path,
    names: list[str],
    told: Progress,
    kind: Family,
    recipe: Recipe | Ranking | None,
) -> tuple[dict[str, Any], list[str]]:
    """Load the copy as training will; returns facts of the model and notices. `recipe`: of one that
    makes vectors or scores, which is asked for none of what a chat needs."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of its many classes' own checks: whatever they find, it is no base
        raise UserFault(
            "bad_config",
            f"transformers cannot read config.json: {error}",
            where="config.json",
            fix="Download the file again; compare its SHA-256 with the publisher's.",
        ) from error
    _require_plausible(config)
    shape = _shape(config, kind)
    notices = check_tokenizer(folder, shape.vocabulary_size, writes=recipe is None)
    if isinstance(recipe, Recipe):
        check_prompts(folder, recipe)
    size = sum((folder / name).stat().st_size for name in names)
    told("check", 0, size)
    weights = check_weights(folder, names, config, kind)
    told("check", size, size)
    return {
        "parameters": weights.parameters,
        "dtype": weights.dtype,
        "tied_head": weights.tied_head,
        "context_length": recipe.max_length if recipe else shape.context_length,
        "vocab_size": shape.vocabulary_size,
        "infilling": infilling_dialect(folder) if recipe is None else "",
        "chat_template": recipe is None,  # one that writes and has none is refused
    }, notices


def _require_plausible(config: Any) -> None:
    """To build a model of millions of layers takes hours before the first of its weights lacks."""
    layers = getattr(config, "num_hidden_layers", 1)
    if not isinstance(layers, int) or not 1 <= layers <= MOST_LAYERS:
        raise UserFault(
            "bad_config",
            f"config.json says num_hidden_layers {str(layers)[:20]}; 1 to {MOST_LAYERS} can be.",
            where="config.json",
        )
    for part in (config, config.get_text_config()):
        for name, value in part.to_dict().items():
            if name.endswith(("_eps", "_epsilon")) and not _is_epsilon(value):
                raise UserFault(
                    "bad_config",
                    f"config.json says {name} {str(value)[:20]}; it is a number from 0 to 1.",
                    where="config.json",
                    fix="Download the file again; compare its SHA-256 with the publisher's.",
                )


def _is_epsilon(value: Any) -> bool:
    """What a normalisation divides by at the least; None where a family has none."""
    return value is None or (isinstance(value, int | float) and 0 <= value <= 1)


def _shape(config: Any, kind: Family) -> Shape:
    try:
        return kind.shape(config)
    except AttributeError as error:
        raise UserFault(
            "bad_config", f"config.json lacks what is needed: {error}", where="config.json"
        ) from error


def _identity(folder: Path, copied: dict[str, str]) -> dict[str, Any]:
    """Digest, size and file list. Weights keep the hash of their copy; the rest may be edited."""
    hashes = {
        path.name: copied[path.name] if path.suffix == ".safetensors" else sha256_file(path)
        for path in sorted(folder.iterdir())
    }
    files = {
        name: StoredFileInfo(sha256=sha256, bytes=(folder / name).stat().st_size)
        for name, sha256 in hashes.items()
    }
    digest = digest_of(hashes)
    return {
        "digest": digest,
        "path": digest.removeprefix("sha256:"),
        "bytes": sum(file.bytes for file in files.values()),
        "files": files,
    }
