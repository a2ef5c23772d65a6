"""A GGUF file made into a plain Hugging Face folder: bf16 safetensors, tokenizer, chat template.

Quantised blocks are unpacked; what the quantisation lost stays lost, and the notice says so.
"""

import json
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from faults import UserFault
from finetune.families import gguf_architectures

# Byte-level vocabularies whose text splitting transformers rebuilds from the name alone.
_SPLITS = ("llama-bpe", "llama3", "llama-v3", "qwen2", "deepseek-r1-qwen", "tekken", "gpt-2")
# llama.cpp's "smollm": every digit alone, then GPT-2's rule. transformers 5.24 leaves digits out.
_DIGIT_SPLITS = ("smollm",)
_OTHER = "Import the model's safetensors folder instead."


def unpack_gguf(source: Path, folder: Path) -> list[str]:
    """Write `source` into the empty `folder` as a model folder; returns notices.

    UserFault: `gguf_unreadable`, `unknown_architecture`, `gguf_tokenizer_unknown`.
    """
    fields = _read_fields(source)
    _require_known(fields, source)
    model = _load_model(source)
    _write_model(model, folder)
    _write_tokenizer(source, folder, fields, model.config)
    return [f"Unpacked from {source.name}; precision lost by its quantisation is not restored."]


def _read_fields(source: Path) -> dict[str, Any]:
    """The metadata but for the long arrays (vocabulary, merges)."""
    import gguf

    try:
        reader = gguf.GGUFReader(source)
        return {
            name: field.contents()
            for name, field in reader.fields.items()
            if field.types and field.types[0] != gguf.GGUFValueType.ARRAY
        }
    except (ValueError, IndexError, KeyError, OSError, UnicodeDecodeError) as error:
        raise UserFault(
            "gguf_unreadable",
            f"{source.name} is not a whole GGUF file: {error}",
            where=source.name,
            fix="Download the file again; compare its SHA-256 with the publisher's.",
        ) from error


def _require_known(fields: dict[str, Any], source: Path) -> None:
    architecture, known = fields.get("general.architecture"), gguf_architectures()
    if architecture not in known:
        raise UserFault(
            "unknown_architecture",
            f"general.architecture is {architecture!r}.",
            where=source.name,
            fix=f"Use a model of one of these: {', '.join(known)}.",
        )
    kind, split = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre")
    if kind == "llama" or (kind == "gpt2" and split in _SPLITS + _DIGIT_SPLITS):
        return
    raise UserFault(
        "gguf_tokenizer_unknown",
        f"The tokenizer {kind!r} with text splitting {split!r} cannot be rebuilt exactly.",
        where=source.name,
        fix=_OTHER,
    )


def _load_model(source: Path) -> Any:
    """A native model in bf16 whose every parameter came from the file."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    try:
        # its bar is tqdm's own, which transformers' switch for bars does not reach
        with redirect_stderr(StringIO()):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                source.parent,
                gguf_file=source.name,
                dtype=torch.bfloat16,
                # plain weights, whatever kernels for packed blocks this machine may have
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
                local_files_only=True,
                trust_remote_code=False,
            )
    except (ValueError, KeyError, RuntimeError, OSError) as error:
        raise UserFault(
            "gguf_unreadable",
            f"{source.name} does not load: {error}",
            where=source.name,
            fix=_OTHER,
        ) from error
    model, loading = loaded
    if loading["missing_keys"] or loading["mismatched_keys"]:
        raise UserFault(
            "gguf_unreadable",
            f"{source.name} lacks {sorted(loading['missing_keys'])[:3]}.",
            where=source.name,
            fix=_OTHER,
        )
    return model


def _write_model(model: Any, folder: Path) -> None:
    """Copy the weights into a fresh model of the native class, so nothing of the loader stays."""
    import torch
    from transformers import GenerationConfig

    settings = {key: _short(value) for key, value in model.config.to_dict().items()}
    for key in ("_name_or_path", "_model_name_or_path", "quantization_config"):
        settings.pop(key, None)
    config = type(model.config)(**settings)
    with torch.device("meta"):
        fresh = type(model)(config)
    fresh.load_state_dict(model.state_dict(), strict=True, assign=True)
    fresh.tie_weights()
    fresh.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )
    fresh.to(torch.bfloat16).save_pretrained(folder)


def _write_tokenizer(source: Path, folder: Path, fields: dict[str, Any], config: Any) -> None:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        source.parent, gguf_file=source.name, local_files_only=True, trust_remote_code=False
    )
    if fields.get("tokenizer.ggml.pre") in _DIGIT_SPLITS:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    for key in ("is_local", "local_files_only", "name_or_path", "vocab_file"):
        written.pop(key, None)
    written["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _short(value: Any) -> Any:
    """GGUF stores float32, so 1e-05 comes back as 9.999999747378752e-06: write what was meant."""
    import numpy as np

    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, float) and float(np.float32(value)) == value:
        return float(str(np.float32(value)))
    return value
