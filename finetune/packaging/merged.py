"""The merged form: base and adapter as one model, held to what the two say side by side, signed."""

import shutil
import subprocess
import sys
import uuid
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from faults import OurFault, UserFault
from finetune.families import family
from finetune.packaging.form_documents import publish_form
from finetune.packaging.passport import Passport
from finetune.packaging.reloaded import ANSWERS, ASKED, LOGITS, Answers, Asked
from finetune.packaging.serve import loader_of
from finetune.packaging.signing import Signer

if TYPE_CHECKING:
    from finetune.families.contract import Expected

MODEL = "model"
SHARD_BYTES = 4 << 30
ANSWER_TOKENS = 24
LIMIT = 1e-3  # of a logit, in float32: two ways of adding up differ by less
MOST_ROUNDED_AWAY = 0.5  # of what training moved
RELOAD_SECONDS = 3 * 3600

_README = """\
# {name}, merged into its base

`model/` is one transformers model: the base {base} (`{digest}`) with what was trained in its
weights. It was computed in float32 and stored in the base's types ({types}). It needs neither the
base nor peft:

```python
from transformers import {loader}, AutoTokenizer, GenerationConfig

tokenizer = AutoTokenizer.from_pretrained("model")
settings = GenerationConfig.from_pretrained("model")
model = {loader}.from_pretrained("model", dtype="auto")
```

The base's weights are in it: whoever has this folder has them, under the base's licence
({licence}). `form.json` says how far its answers are from those of base and adapter side by side.
"""


class MergedParity(BaseModel):
    """Largest differences of logits over the probe's `tokens` tokens, all computed in float32:
    between the files, loaded in another process, and the weights as peft merges and the base's
    types round them (`max_abs_diff`); between the files and base and adapter side by side
    (`rounding`); and how far training `moved` the base. `same_answers`: as base and adapter, always
    so where nothing is rounded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: int
    max_abs_diff: float
    rounding: float
    moved: float
    same_answers: bool


class FormInfo(BaseModel):
    """form.json. `artifact`: the digest of the bundle that it was made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["privatune-form/1"] = "privatune-form/1"
    form: Literal["merged"] = "merged"
    model: str
    artifact: str
    base: str
    types: list[str]
    transformers: str
    code_version: str
    parity: MergedParity


def build_merged(
    out_dir: Path,
    *,
    bundle: Path,
    artifact: str,
    license_terms: dict[str, Any],
    signer: Signer,
    base_dir: Path,
    shard_bytes: int = SHARD_BYTES,
) -> tuple[FormInfo, str]:
    """Write the signed form of an unpacked bundle to `out_dir`, whole or not at all; with its
    digest.

    OurFault: `parity_failed`, `merge_incomplete`, `artifact_exists`. UserFault: `form_unsupported`,
    `form_rounded_away`.
    """
    passport = Passport.model_validate_json((bundle / "passport.json").read_bytes())
    kind, packed = family(passport.family), bundle / "adapter"
    staging = out_dir.parent / f".{out_dir.name}-{uuid.uuid4().hex}"
    staging.mkdir(parents=True)
    try:
        _add_answering(base_dir, staging / MODEL)
        types = kind.merge(base_dir, packed, staging / MODEL, shard_bytes=shard_bytes)
        expected = kind.expected(base_dir, packed, types, tokens=ANSWER_TOKENS)
        parity = _compared(expected, staging / MODEL, passport.base.architecture, out_dir.parent)
        info = FormInfo(
            model=passport.name,
            artifact=artifact,
            base=passport.base.digest,
            types=sorted(set(types.values())),
            transformers=version("transformers"),
            code_version=version("privatune"),
            parity=parity,
        )
        digest = publish_form(
            staging,
            out_dir,
            bundle=bundle,
            info=info,
            readme=_readme(passport, info, license_terms),
            license_terms=license_terms,
            signer=signer,
            needs={"transformers": f">={info.transformers}"},
        )
        return info, digest
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _add_answering(base_dir: Path, folder: Path) -> None:
    from finetune.packaging.answering import write_answering  # transformers

    write_answering(base_dir, folder)


def _compared(expected: "Expected", model: Path, architecture: str, work: Path) -> MergedParity:
    found, answers = _reloaded(expected, model, architecture, work)
    parity = MergedParity(
        tokens=len(found),
        max_abs_diff=_gap(found, expected.rounded.logits),
        rounding=_gap(found, expected.adapted.logits),
        moved=_gap(expected.adapted.logits, expected.plain.logits),
        same_answers=answers.tokens == expected.adapted.answers,
    )
    _require_same(parity, answers.tokens == expected.rounded.answers)
    return parity


def _gap(one: Any, other: Any) -> float:
    return float((one - other).abs().max())


def _require_same(parity: MergedParity, same_answers: bool) -> None:
    if not parity.max_abs_diff <= LIMIT:  # NaN fails too
        raise _failed(f"its logits differ by {parity.max_abs_diff:.3g}, {LIMIT:.3g} is allowed")
    if not same_answers:
        raise _failed("it goes on with another text")
    if not parity.rounding <= max(LIMIT, MOST_ROUNDED_AWAY * parity.moved):
        raise UserFault(
            "form_rounded_away",
            f"In the base's type the merged weights lose too much of what was trained: rounding "
            f"changes logits by {parity.rounding:.3g}, training by {parity.moved:.3g}.",
            fix="Take the adapter by itself: it stays in float32.",
        )


def _failed(how: str) -> OurFault:
    return OurFault(
        "parity_failed",
        f"The merged model, loaded again, is not what base and adapter are together: {how}.",
    )


def _reloaded(
    expected: "Expected", model: Path, architecture: str, work: Path
) -> tuple[Any, Answers]:
    """Logits and answers of the files, by another process."""
    from safetensors.torch import load_file

    folder = work / f"reloaded-{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        asked = Asked(
            model=model,
            loader=loader_of(architecture),
            rows=expected.rows,
            tokens=ANSWER_TOKENS,
        )
        (folder / ASKED).write_text(asked.model_dump_json(), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "finetune.packaging.reloaded", str(folder)],
            stdin=subprocess.DEVNULL,
            timeout=RELOAD_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise _failed(f"transformers does not load it (exit code {done.returncode})")
        answers = Answers.model_validate_json((folder / ANSWERS).read_bytes())
        return load_file(folder / LOGITS)["logits"], answers
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _readme(passport: Passport, info: FormInfo, license_terms: dict[str, Any]) -> str:
    return _README.format(
        name=passport.name,
        base=passport.base.name,
        digest=passport.base.digest,
        types=", ".join(info.types),
        loader=loader_of(passport.base.architecture),
        licence=license_terms.get("licence", passport.base.licence),
    )
