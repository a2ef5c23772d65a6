"""Writes docs/reference/architectures.md from the lists in finetune/families and the tiny bases
that the tests run; a test keeps it current."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference" / "architectures.md"

HEAD = """# Architectures

Which bases can be imported, made from `finetune/families/causal_lm/architectures.py` and the
tests' tiny bases by `scripts/architectures_table.py`. An architecture is on the list only with such
a base: random weights, two layers, and a configuration that has what is special in it. A test runs
each all the way, with the versions that `constraints.txt` pins, on a processor in fp32 (gradients
in fp64):

1. `import`: as a publisher's folder, with every check of the import;
2. `train`: four steps; loss and gradients equal those of each row alone through transformers' own
   attention;
3. `resume`: stopped after two steps and gone on with, to the same SHA-256 of the result;
4. `verify`: packed, compared with what training said of it, signed, and verified;
5. `serve`: the adapter and the bare base answer two questions greedily, all in one batch;
6. `elsewhere`: a new process without a line of Privatune loads the bundle's adapter with stock peft
   on the base, and `generate` writes the same tokens, with the adapter and without.

That shows that the arithmetic is right. It says nothing of how well a model of that kind learns,
and large ones were not run.

"""
COLUMNS = (
    "`architectures` in config.json",
    "models",
    "tiny bases that were run",
    "what is special, and done",
    "adapters on",
)

ALL = "all linear layers"
ATTENTION = "attention (`q_proj`, `k_proj`, `v_proj`, `o_proj`)"
TEXT = "the text model's linear layers"

EMBEDDING = """
## Bases that embed

Read from a folder as sentence-transformers saves one (`modules.json`, pooling, prompts), made from
`finetune/families/embedding/architectures.py`. Of each `model_type` a tiny base with random weights
is imported, and its vectors equal those of sentence-transformers to 1e-5; of some, jobs are
trained, packed and loaded by sentence-transformers in another process. Pooling is by mean, maximum,
first or last token; dense layers behind it are refused (`recipe_unsupported`).

| `architectures` in config.json | `model_type` | models |
|---|---|---|
"""

# architecture -> models
EMBEDDING_MODELS = {
    "BertModel": "MiniLM, BGE (English and Chinese), E5, GTE",
    "RobertaModel": "all-distilroberta",
    "XLMRobertaModel": "multilingual-e5, BGE-M3 (its dense vectors)",
    "MPNetModel": "all-mpnet-base, multi-qa-mpnet",
    "DistilBertModel": "multi-qa-distilbert",
    "ModernBertModel": "gte-modernbert, modernbert-embed",
    "Qwen3Model": "Qwen3-Embedding",
    "Qwen3ForCausalLM": "Qwen3-Embedding as it is published",
}

# architecture -> (models, what is special, what all-linear adapts)
MODELS = {
    "LlamaForCausalLM": (
        "LLaMA 2 and 3, SmolLM2, Yi, DeepSeek-R1-Distill-Llama, many more",
        "",
        ALL,
    ),
    "MistralForCausalLM": (
        "Mistral 7B, Mistral Nemo, Mistral Small 2409 and 2501",
        "a sliding window where set",
        ALL,
    ),
    "MinistralForCausalLM": ("Ministral 8B", "sliding windows by layer", ALL),
    "Ministral3ForCausalLM": (
        "Ministral 3, the text model alone",
        "YaRN; queries scaled by position",
        ALL,
    ),
    "Mistral3ForConditionalGeneration": (
        "Mistral Small 3.1 and 3.2, Ministral 3",
        "reads images: the text model is trained and served, the image tower is not loaded; loaded "
        "elsewhere with `AutoModelForImageTextToText`",
        TEXT,
    ),
    "MixtralForCausalLM": ("Mixtral", "a mixture of experts; no token is dropped", ATTENTION),
    "Qwen2ForCausalLM": (
        "Qwen2, Qwen2.5, DeepSeek-R1-Distill-Qwen",
        "sliding windows above a layer, where set",
        ALL,
    ),
    "Qwen3ForCausalLM": ("Qwen3, dense", "norms of queries and keys", ALL),
    "Qwen3MoeForCausalLM": (
        "Qwen3-30B-A3B and other Qwen3 mixtures",
        "a mixture of experts; no token is dropped",
        ATTENTION,
    ),
    "GemmaForCausalLM": ("Gemma 1", "scaled embeddings", ALL),
    "Gemma2ForCausalLM": ("Gemma 2", "capped scores and logits; sliding windows by layer", ALL),
    "Gemma3ForCausalLM": (
        "Gemma 3 1B and 270M",
        "sliding windows and rotary frequencies by layer",
        ALL,
    ),
    "Gemma3ForConditionalGeneration": (
        "Gemma 3 4B, 12B, 27B",
        "reads images: the text model is trained and served, the image tower is not loaded",
        TEXT,
    ),
    "Phi3ForCausalLM": (
        "Phi-3, Phi-3.5-mini, Phi-4, Phi-4-mini",
        "fused `qkv_proj` and `gate_up_proj`; partial rotary; with longrope a row takes no more "
        "than the first range (4096 tokens), as other frequencies hold beyond it",
        ALL,
    ),
    "SmolLM3ForCausalLM": ("SmolLM3", "layers without positions", ALL),
    "GraniteForCausalLM": (
        "Granite 3",
        "multipliers of embeddings, attention, residuals and logits",
        ALL,
    ),
    "OlmoForCausalLM": ("OLMo", "clipped queries, keys and values", ALL),
    "Olmo2ForCausalLM": ("OLMo 2", "norms after the layers", ALL),
    "Olmo3ForCausalLM": ("OLMo 3", "norms after the layers; sliding windows by layer", ALL),
    "GlmForCausalLM": (
        "GLM-4 9B (`-hf`), GLM-Edge",
        "fused `gate_up_proj`; partial rotary, interleaved",
        ALL,
    ),
    "Glm4ForCausalLM": ("GLM-4-0414, GLM-Z1", "the same; norms after the layers", ALL),
    "GptOssForCausalLM": (
        "gpt-oss, a bfloat16 copy",
        "attention sinks; sliding windows by layer; a mixture of experts. The release itself is "
        "MXFP4 and is refused (`weights_dtype`)",
        ATTENTION,
    ),
}

MIDDLE = """
"Adapters on" is what `targets` left out (`all-linear`) means. Of a mixture of experts only
attention can be adapted: transformers 5 holds the experts in fused tensors that are no linear
layers, and peft would read `gate_proj` there as all of them. Their names, and the router's, are
refused (`unknown_layer` when the job is made).

## Refused at the import

`architecture_unsupported`, with the reason:

| `model_type` in config.json | why |
|---|---|
"""

TAIL = """
Refused in the same way: a Gemma 3 that looks ahead (`use_bidirectional_attention`: it embeds
texts), a listed architecture with layers of another kind in `layer_types`, and another text model
within one that reads images. Quantised weights of any kind (MXFP4, FP8, GPTQ, AWQ) are refused as
`weights_dtype`; whatever is on neither list as `unknown_architecture`.

Behind the lists stands a gate: before it trains, each run compares its way through the base with
the model's own on its first rows, and stops (`unfaithful_architecture`) rather than train something
wrong. The model server does the same when it loads a base.
"""

RANKING = """
## Bases that rank

Cross-encoders with a head of one label, as transformers or sentence-transformers' CrossEncoder
saves them; a table in `finetune/families/reranking/architectures.py`. Of each `model_type` a tiny
base with random weights is imported, and its scores equal CrossEncoder's to 1e-5. A head of several
labels, one that is not in the weights, and modules behind it are refused.

| `architectures` in config.json | `model_type` |
|---|---|
"""


def page() -> str:
    sys.path[:0] = [str(ROOT)]
    from finetune.families.causal_lm.architectures import ARCHITECTURES, REFUSED
    from finetune.families.embedding.architectures import ARCHITECTURES as EMBEDDING_ARCHITECTURES
    from finetune.families.reranking.architectures import ARCHITECTURES as RANKING_ARCHITECTURES
    from tests.finetune.families.bases import BASES

    rows = [f"| {' | '.join(COLUMNS)} |\n", "|---" * len(COLUMNS) + "|\n"]
    for architecture in ARCHITECTURES:
        models, special, adapters = MODELS[architecture]
        run = [name for name, base in BASES.items() if base.architecture == architecture]
        rows.append(
            f"| `{architecture}` | {models} | {', '.join(run)} | {special} | {adapters} |\n"
        )
    reasons: dict[str, list[str]] = {}
    for model_type, reason in REFUSED.items():
        reasons.setdefault(reason, []).append(f"`{model_type}`")
    refused = [f"| {', '.join(types)} | {reason} |\n" for reason, types in reasons.items()]
    embedding = [
        f"| `{name}` | `{model_type}` | {EMBEDDING_MODELS[name]} |\n"
        for name, model_type in EMBEDDING_ARCHITECTURES.items()
    ]
    ranking = [
        f"| `{name}` | `{model_type}` |\n" for name, model_type in RANKING_ARCHITECTURES.items()
    ]
    parts = (HEAD, *rows, MIDDLE, *refused, TAIL, EMBEDDING, *embedding, RANKING, *ranking)
    return "".join(parts)


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
