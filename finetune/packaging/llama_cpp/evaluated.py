"""How a GGUF file's answers compare with those of the model it was made of."""

import math
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from faults import OurFault, UserFault
from finetune.packaging.llama_cpp.native import CONTEXT
from finetune.packaging.llama_cpp.said import ASKED, LOGITS, SAID, AskedGguf, SaidGguf

if TYPE_CHECKING:
    from torch import Tensor

    from finetune.families.contract import Expected

SECONDS = 3 * 3600
# Mean nats: what llama.cpp's arithmetic in 16 bits makes of the same weights is a hundredth of the
# first; a wrong layout or position is beyond the last
MOST_DIVERGENCE = {"gguf-f16": 1e-3, "gguf-q8_0": 0.1, "gguf-q4_k_m": 1.0}
TIE = 0.1  # of a logit: nearer tokens may change places where sums are rounded to 16 bits

# Ours, so that no row of anybody's is needed. Digits, contractions, other alphabets, runs of blanks
# and newlines, code: where the rules by which tokenizers split texts differ
PASSAGES = (
    "The old lighthouse keeper didn't trust the new lamp. He'd climbed 1,204 steps every evening "
    "for 37 years, and he wasn't going to stop because a wire now ran up the wall.",
    "Нет. Ça va, Zoë? ありがとう。价格是 3.50 元，不是 12345 元。 🙂👍🏽",
    "import os\n\n\ndef sizes(path):\n\treturn {n: os.stat(n)   for n in os.listdir(path)}\r\n",
    "  two leading blanks,\n\n  a list:\n- x=1;y_2=0x1F\n- I'LL, we've, they'd   \n\n\nend",
)


class Evaluation(BaseModel):
    """Over `tokens` tokens: `perplexity` of the file in llama.cpp beside the `original` model's in
    float32; `divergence`, the mean Kullback-Leibler divergence of the file's next tokens from the
    original's, in nats, and how far training `moved` the base's, likewise. `gap`: how far the
    likeliest token's logit was beyond that of the original's own answers, at most."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: int
    perplexity: float
    original: float
    divergence: float
    moved: float
    gap: float


def evaluated(
    expected: "Expected", file: Path, *, form: str, texts: dict[str, list[int]], stops: list[int]
) -> Evaluation:
    """`texts`: with their tokens. OurFault `parity_failed`; UserFault `form_rounded_away`."""
    asked = AskedGguf(
        model=file,
        rows=[row[:CONTEXT] for row in expected.rows],
        answers=[
            answer[: max(0, CONTEXT - len(row))]
            for row, answer in zip(expected.rows, expected.rounded.answers, strict=True)
        ],
        texts=list(texts),
        stops=stops,
    )
    told, logits = _asked(asked, file.parent.parent)
    _require_tokens(told, texts)
    found = _compared(expected, asked.rows, logits, told.gap)
    _require_near(found, form)
    return found


def _require_tokens(told: SaidGguf, texts: dict[str, list[int]]) -> None:
    for (text, tokens), found in zip(texts.items(), told.texts, strict=True):
        if tokens != found:
            raise _failed(f"it reads {text[:24]!r}... as other tokens")
    if told.unstopped:
        raise _failed(f"the token {told.unstopped[0]} does not end its answers")


def _require_near(found: Evaluation, form: str) -> None:
    most = MOST_DIVERGENCE[form]
    if form == "gguf-f16":
        if not found.divergence <= most:  # NaN fails too
            raise _failed(
                f"its next tokens diverge by {found.divergence:.3g} nats, {most:.3g} is allowed"
            )
        if found.gap > TIE:
            raise _failed(f"it goes on with another text, by {found.gap:.3g} of a logit")
    elif not found.divergence <= most:
        raise UserFault(
            "form_rounded_away",
            f"In so few bits the model's next tokens diverge by {found.divergence:.3g} nats from "
            f"its own, {most:.3g} is allowed; training moved them by {found.moved:.3g}.",
            fix="Take gguf-f16 or the merged form.",
        )


def _failed(how: str) -> OurFault:
    return OurFault("parity_failed", f"The GGUF file, read by llama.cpp, is not the model: {how}.")


def _compared(
    expected: "Expected", rows: list[list[int]], found: "Tensor", gap: float
) -> Evaluation:
    """Each row's tokens but the first are foretold by those before them."""
    nats = {"file": 0.0, "original": 0.0, "divergence": 0.0, "moved": 0.0}
    tokens, places, at, of_file = 0, 0, 0, 0
    for whole, row in zip(expected.rows, rows, strict=True):
        original = expected.rounded.logits[at : at + len(row)].double().log_softmax(-1)
        plain = expected.plain.logits[at : at + len(row)].double().log_softmax(-1)
        said = found[of_file : of_file + len(row)].double().log_softmax(-1)
        at, of_file = at + len(whole), of_file + len(row)
        nats["file"] += _nats(said, row)
        nats["original"] += _nats(original, row)
        nats["divergence"] += _divergence(original, said)
        nats["moved"] += _divergence(original, plain)
        tokens, places = tokens + len(row) - 1, places + len(row)
    return Evaluation(
        tokens=tokens,
        perplexity=math.exp(nats["file"] / tokens),
        original=math.exp(nats["original"] / tokens),
        divergence=nats["divergence"] / places,
        moved=nats["moved"] / places,
        gap=gap,
    )


def _nats(logs: "Tensor", row: list[int]) -> float:
    return -sum(float(logs[place, token]) for place, token in enumerate(row[1:]))


def _divergence(one: "Tensor", other: "Tensor") -> float:
    return float((one.exp() * (one - other)).sum())


def _asked(asked: AskedGguf, work: Path) -> tuple[SaidGguf, "Tensor"]:
    """By another process."""
    from safetensors.torch import load_file

    folder = work / f"said-{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        (folder / ASKED).write_text(asked.model_dump_json(), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "finetune.packaging.llama_cpp.said", str(folder)],
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise _failed(f"llama.cpp does not read it (exit code {done.returncode})")
        told = SaidGguf.model_validate_json((folder / SAID).read_bytes())
        return told, load_file(folder / LOGITS)["logits"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
