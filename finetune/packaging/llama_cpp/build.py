"""The GGUF forms: base and adapter as one file for llama.cpp and Ollama, read back by llama.cpp and
compared with the model it was made of, signed."""

import json
import shutil
import uuid
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from finetune.families import family
from finetune.packaging.form_documents import publish_form
from finetune.packaging.llama_cpp.architecture import Architecture
from finetune.packaging.llama_cpp.evaluated import PASSAGES, Evaluation, evaluated
from finetune.packaging.llama_cpp.modelfile import modelfile
from finetune.packaging.llama_cpp.native import require_native, version_of
from finetune.packaging.merged import ANSWER_TOKENS, SHARD_BYTES
from finetune.packaging.passport import Passport
from finetune.packaging.signing import Signer
from finetune.records.encode import RowEncoder, load_tokenizer

FILE, MODELFILE = "model.gguf", "Modelfile"
_README = """\
# {name} as GGUF

`{file}` is the base {base} (`{digest}`) with what was trained in its weights, as {form}. It needs
neither the base nor an adapter; tokenizer and chat template are in it.

    llama-server -m {file} --jinja
    ollama create my-model -f Modelfile && ollama run my-model

llama.cpp ({llama_cpp}) read it before it was signed: over {tokens} tokens of texts that were not
trained its perplexity is {perplexity:.4g}, that of the model in float32 {original:.4g}; their next
tokens diverge by {divergence:.2g} nats, where training moved the base's by {moved:.2g}.

The base's weights are in it: whoever has this folder has them, under the base's licence
({licence}).
"""


class GgufInfo(BaseModel):
    """form.json. `artifact`: the digest of the bundle that it was made of; `types`: how many
    tensors there are of each; `ollama`: whether the Modelfile has the chat template."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["privatune-form/1"] = "privatune-form/1"
    form: Literal["gguf-f16", "gguf-q8_0", "gguf-q4_k_m"]
    model: str
    artifact: str
    base: str
    architecture: str
    types: dict[str, int]
    llama_cpp: str
    code_version: str
    ollama: bool
    evaluation: Evaluation


def build_gguf(
    out_dir: Path,
    *,
    form: Literal["gguf-f16", "gguf-q8_0", "gguf-q4_k_m"],
    bundle: Path,
    artifact: str,
    license_terms: dict[str, Any],
    signer: Signer,
    base_dir: Path,
) -> tuple[GgufInfo, str]:
    """Write the signed form of an unpacked bundle to `out_dir`, whole or not at all; with its
    digest.

    OurFault: `llama_cpp_missing`, `parity_failed`, `merge_incomplete`, `artifact_exists`.
    UserFault: `form_unsupported`, `form_rounded_away`.
    """
    require_native()
    passport = Passport.model_validate_json((bundle / "passport.json").read_bytes())
    mark = f".{out_dir.name}-{uuid.uuid4().hex}"
    staging, merged = out_dir.parent / mark, out_dir.parent / f"{mark}-merged"
    staging.mkdir(parents=True)
    try:
        info = _written(staging, merged, passport, form, artifact, bundle, base_dir)
        digest = publish_form(
            staging,
            out_dir,
            bundle=bundle,
            info=info,
            readme=_readme(passport, info, license_terms),
            license_terms=license_terms,
            signer=signer,
            needs={},
        )
        return info, digest
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(merged, ignore_errors=True)


def _written(
    staging: Path,
    merged: Path,
    passport: Passport,
    form: Literal["gguf-f16", "gguf-q8_0", "gguf-q4_k_m"],
    artifact: str,
    bundle: Path,
    base_dir: Path,
) -> GgufInfo:
    from finetune.packaging.answering import write_answering  # transformers
    from finetune.packaging.llama_cpp.writing import write_gguf

    kind = Architecture.of(json.loads((base_dir / "config.json").read_bytes()))
    family_ = family(passport.family)
    write_answering(base_dir, merged)
    types = family_.merge(base_dir, bundle / "adapter", merged, shard_bytes=SHARD_BYTES)
    stops = json.loads((merged / "generation_config.json").read_bytes())["eos_token_id"]
    counted = write_gguf(merged, staging / FILE, form=form, name=passport.name, stops=stops)
    encoder = RowEncoder(load_tokenizer(merged))
    shutil.rmtree(merged)
    expected = family_.expected(
        base_dir, bundle / "adapter", types, tokens=ANSWER_TOKENS, texts=PASSAGES
    )
    found = evaluated(
        expected,
        staging / FILE,
        form=form,
        texts={text: encoder.encode_rendered(text) for text in PASSAGES},
        stops=stops,
    )
    ollama = _add_modelfile(staging, encoder, kind, stops)
    return GgufInfo(
        form=form,
        model=passport.name,
        artifact=artifact,
        base=passport.base.digest,
        architecture=kind.name,
        types=counted,
        llama_cpp=version_of(),
        code_version=version("privatune"),
        ollama=ollama,
        evaluation=found,
    )


def _add_modelfile(
    staging: Path, encoder: RowEncoder, kind: Architecture, stops: list[int]
) -> bool:
    tokenizer = encoder.tokenizer
    text = modelfile(
        encoder,
        file=FILE,
        stops=[str(each) for each in tokenizer.convert_ids_to_tokens(stops)],
        context=kind.context,
        starts=tokenizer("a").input_ids[0] == tokenizer.bos_token_id,
    )
    (staging / MODELFILE).write_text(text, encoding="utf-8")
    return "TEMPLATE" in text


def _readme(passport: Passport, info: GgufInfo, license_terms: dict[str, Any]) -> str:
    found = info.evaluation
    return _README.format(
        name=passport.name,
        file=FILE,
        base=passport.base.name,
        digest=passport.base.digest,
        form=info.form.removeprefix("gguf-").upper(),
        llama_cpp=info.llama_cpp,
        licence=license_terms.get("licence", passport.base.licence),
        **found.model_dump(include={"tokens", "perplexity", "original", "divergence", "moved"}),
    )
