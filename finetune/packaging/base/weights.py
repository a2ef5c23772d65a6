"""Safetensors weights: which files they are; whether they are whole, finite and fit the config."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from faults import UserFault
from finetune.families.contract import Family
from finetune.packaging.base.config import read_json

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")
FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
# What older versions of transformers saved with an encoder's weights, and now count themselves
COUNTED = ("embeddings.position_ids", "embeddings.token_type_ids")
_AGAIN = "Download the file again; compare its SHA-256 with the publisher's."


class WeightFacts(BaseModel):
    model_config = ConfigDict(frozen=True)

    parameters: int
    dtype: str
    tied_head: bool


def weight_files(folder: Path) -> list[str]:
    """The safetensors files that make the model, index first; UserFault when there are none."""
    names = {path.name for path in folder.iterdir()}
    if SINGLE in names:
        return [SINGLE]
    if INDEX in names:
        return [INDEX, *_shards(folder, names)]
    pickled = sorted(name for name in names if name.endswith(PICKLES))
    if pickled:
        raise UserFault(
            "pickle_weights",
            f"The weights are pickled ({', '.join(pickled[:3])}); reading them can run any code.",
            where=pickled[0],
            fix="Use the model's safetensors files, or convert them in a sandbox with "
            "save_pretrained(safe_serialization=True).",
        )
    if "adapter_config.json" in names:
        raise UserFault(
            "not_a_base",
            "This is an adapter, not a base model.",
            where="adapter_config.json",
            fix="Import the base that it was trained on.",
        )
    raise UserFault(
        "no_weights",
        f"There is neither {SINGLE} nor {INDEX}.",
        where=str(folder),
        fix="Point at a Hugging Face model folder with safetensors weights, or at a .gguf file.",
    )


def _shards(folder: Path, names: set[str]) -> list[str]:
    index = read_json(folder / INDEX, code="weights_corrupt")
    mapping = index.get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise UserFault("weights_corrupt", f"{INDEX} has no weight_map.", where=INDEX, fix=_AGAIN)
    shards = sorted({str(value) for value in mapping.values()})
    strange = [s for s in shards if "/" in s or "\\" in s or not s.endswith(".safetensors")]
    if strange:
        raise UserFault(
            "weights_corrupt", f"{INDEX} points at {strange[0]!r}.", where=INDEX, fix=_AGAIN
        )
    missing = [shard for shard in shards if shard not in names]
    if missing:
        raise UserFault(
            "shard_missing",
            f"{len(missing)} of {len(shards)} weight files are missing: {', '.join(missing[:5])}",
            where=INDEX,
            fix="Download the missing files into the same folder.",
        )
    return shards


def check_weights(folder: Path, files: list[str], config: Any, kind: Family) -> WeightFacts:
    """Read every tensor once and compare with the native class built from `config`.

    UserFault: `weights_corrupt`, `weights_not_finite`, `weights_dtype`, `weights_mismatch`.
    """
    dtypes: dict[str, int] = {}
    for name in files:
        if name.endswith(".safetensors"):
            _read_file(folder / name, dtypes)
    fit = kind.fit(folder)
    if fit.fault:
        raise _mismatch(fit.fault)
    return WeightFacts(
        parameters=fit.parameters,
        dtype=FLOATS[max(dtypes, key=lambda kind: dtypes[kind])],
        tied_head=bool(getattr(config, "tie_word_embeddings", False)),
    )


def _read_file(path: Path, dtypes: dict[str, int]) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - not a mapping
                kind = tensors.get_slice(key).get_dtype()
                if key.endswith(COUNTED):
                    continue
                if kind not in FLOATS:
                    raise _wrong_dtype(path.name, key, kind)
                tensor = tensors.get_tensor(key)
                dtypes[kind] = dtypes.get(kind, 0) + tensor.numel()
                _require_finite(path.name, key, tensor)
    except (SafetensorError, OSError) as error:
        raise UserFault(
            "weights_corrupt", f"{path.name} cannot be read: {error}", where=path.name, fix=_AGAIN
        ) from error


def _wrong_dtype(file: str, key: str, kind: str) -> UserFault:
    return UserFault(
        "weights_dtype",
        f"{key} has the type {kind}; quantised weights cannot be a training base.",
        where=file,
        fix="Import the model's full-precision weights (bfloat16, float16 or float32).",
    )


def _require_finite(file: str, key: str, tensor: Any) -> None:
    import torch

    if not bool(torch.isfinite(tensor).all()):
        raise UserFault(
            "weights_not_finite",
            f"{key} holds NaN or infinity; every answer and gradient would be NaN.",
            where=file,
            fix=_AGAIN,
        )


def _mismatch(what: str) -> UserFault:
    return UserFault(
        "weights_mismatch",
        f"Weights and config.json do not fit: {what}.",
        fix="Check that config.json and the weights come from the same model.",
    )
