"""What another runtime needs besides weights to answer as here (`tokenizer/`).

The base's tokenizer, its chat template with the day that training saw, and what ends an answer.
Never the base's weights.
"""

import shutil
from pathlib import Path
from typing import Any

from faults import UserFault
from finetune.packaging.base.config import cleaned, read_json
from finetune.packaging.base.folder import PLAIN_FILES, is_terms
from finetune.packaging.base.tokenizer import TEMPLATE, stop_ids
from finetune.packaging.files import pretty_json
from finetune.records.encode import RowEncoder, load_tokenizer
from finetune.records.rendering import frozen

# The tokenizer's class may follow from the model's
_CONFIGS = ("config.json", "tokenizer_config.json")
GENERATION = "generation_config.json"


def write_answering(base_dir: Path, folder: Path) -> str:
    """Fill the new `folder`, which AutoTokenizer and GenerationConfig load. Returns what the
    template calls its switch for thinking."""
    folder.mkdir()
    for path in sorted(base_dir.iterdir()):
        if path.name in PLAIN_FILES or is_terms(path.name):
            shutil.copyfile(path, folder / path.name)
    configs = {
        name: cleaned(read_json(base_dir / name, code="bad_config"))
        for name in _CONFIGS
        if (base_dir / name).is_file()
    }
    encoder = RowEncoder(load_tokenizer(base_dir))
    _put_template(encoder.tokenizer.chat_template, folder, configs)
    for name, config in configs.items():
        (folder / name).write_bytes(pretty_json(config))
    (folder / GENERATION).write_bytes(pretty_json(_generation(base_dir, encoder)))
    return encoder.switch


def _put_template(template: Any, folder: Path, configs: dict[str, Any]) -> None:
    """One template as a file; several, by name, as tokenizer_config.json has them."""
    config = configs.setdefault("tokenizer_config.json", {})
    config.pop("chat_template", None)
    if isinstance(template, str):
        (folder / TEMPLATE).write_text(frozen(template), encoding="utf-8")
    elif template:
        (folder / TEMPLATE).unlink(missing_ok=True)
        config["chat_template"] = [
            {"name": name, "template": frozen(source)} for name, source in template.items()
        ]


def _generation(base_dir: Path, encoder: RowEncoder) -> dict[str, Any]:
    """Every token that ends an answer here, and the sampling of a request that asks for none."""
    own = stop_ids(base_dir)
    try:
        stops = own | encoder.stop_ids
    except UserFault:  # the template ends no turn: prompts without a template were trained
        stops = own | {encoder.tokenizer.eos_token_id}
    tokenizer = encoder.tokenizer
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": sorted(stops),
        "pad_token_id": pad,
        "do_sample": True,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "repetition_penalty": 1.0,
    }
