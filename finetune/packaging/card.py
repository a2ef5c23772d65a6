"""The model card of an artifact: its passport, for people (`model-card.md`)."""

import json

from finetune.packaging.passport import (
    Change,
    DatasetUsed,
    Evaluation,
    Passport,
    Preferences,
    RankingUsed,
    RecipeUsed,
    SplitUsed,
)
from finetune.records.check.columns import as_written

_SCORES = (
    "\n\nIt is a reward model: it writes nothing, and gives a whole conversation one number, the "
    "higher the better its last answer. Numbers compare answers to one prompt; by themselves they "
    "have no unit."
)


def model_card(passport: Passport, licence: str) -> str:
    """Markdown with the front matter that Hugging Face tools read."""
    parts = [_front_matter(passport, licence), _about(passport), _vectors(passport.recipe)]
    parts += [_ranks(passport.ranking)]
    parts += [_lineage(passport)]
    parts += [_data(passport)]
    parts += [_training(passport), _evaluation(passport), _use(passport)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(passport: Passport, licence: str) -> str:
    values = {
        "base_model": passport.base.hub_id or passport.base.name,
        "library_name": "peft",
        "license": licence,
        "pipeline_tag": _task(passport),
    }
    # JSON strings are YAML strings, so no name can break out of the front matter
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join(["---", *lines, "tags:", "- lora", "- peft", "---"])


def _task(passport: Passport) -> str:
    if passport.recipe is not None:
        return "sentence-similarity"
    if passport.ranking is not None:
        return "text-ranking"
    return "text-classification" if passport.family == "scoring" else "text-generation"


def _about(passport: Passport) -> str:
    base = passport.base
    return (
        f"# {_plain(passport.name)}\n\n"
        f"An adapter for {_plain(base.name)} ({base.architecture}, {base.parameters:,} parameters, "
        f"licence {_plain(base.licence)}), made for {_plain(passport.tenant)} on "
        f"{passport.created.date().isoformat()}. It works only with the base of digest "
        f"`{base.digest}`." + (_SCORES if passport.family == "scoring" else "")
    )


def _vectors(recipe: RecipeUsed | None) -> str:
    if recipe is None:
        return ""
    prompts = [f"| {_plain(name)} | {_plain(text)} |" for name, text in recipe.prompts.items()]
    table = ["", "| prompt | stands before |", "|---|---|", *prompts] if prompts else []
    length = "of length 1" if recipe.normalize else "of any length"
    return "\n".join(
        [
            "## Vectors",
            "",
            f"It makes vectors of texts: pooling {recipe.pooling}, {length}, at most "
            f"{recipe.max_length:,} tokens of a text.",
            *table,
        ]
    )


def _ranks(ranking: RankingUsed | None) -> str:
    if ranking is None:
        return ""
    score = "a score from 0 to 1" if ranking.sigmoid else "a score without a unit"
    return (
        "## Scores\n\n"
        f"It reads a query beside a document, {ranking.max_length:,} tokens of both at most, and "
        f"gives the document {score}, the higher the better it answers."
    )


def _lineage(passport: Passport) -> str:
    """The trainings before this one, whose weights it went on with."""
    if not passport.lineage:
        return ""
    rows = [
        f"| {number} | {each.method} | {_plain(each.model)} | {each.steps:,} "
        f"| `{each.adapter_sha256}` |"
        for number, each in enumerate(passport.lineage, 1)
    ]
    own = f"| {len(rows) + 1} | {passport.method} | this model | {passport.steps:,} | |"
    head = ["| stage | method | model | steps | its adapter |", "|---|---|---|---|---|"]
    return "\n".join(["## Stages", "", *head, *rows, own])


def _data(passport: Passport) -> str:
    rows = [
        f"| {used.role} | {_plain(used.name)} | {used.rows:,} | `{used.sha256}` | {_read(used)} |"
        for used in passport.datasets
    ]
    head = ["| role | name | rows | SHA-256 | read as |", "|---|---|---|---|---|"]
    return "\n".join(["## Data", "", *head, *rows, *_split(passport.split)])


def _split(split: SplitUsed | None) -> list[str]:
    if split is None:
        return []
    return [
        "",
        f"{split.validation_rows:,} of its rows were kept apart for validation and not trained "
        f"(a share of {split.share:g}, drawn by seed {split.seed}; digest of their numbers "
        f"`{split.sha256}`).",
    ]


def _read(used: DatasetUsed) -> str:
    """The rows that were read from the file, and by which mapping of its columns."""
    digest = f"`{used.rows_sha256}`" if used.rows_sha256 else ""
    columns = f"columns {_plain(as_written(used.columns))}" if used.columns else ""
    weight = f"weight {used.weight:g}" if used.weight is not None else ""
    return ", ".join(filter(None, (digest, columns, weight)))


def _training(passport: Passport) -> str:
    settings = [
        f"| {key} | {_plain(json.dumps(value, ensure_ascii=False))} |"
        for key, value in sorted(passport.hyperparameters.items())
    ]
    return "\n".join(
        [
            "## Training",
            "",
            f"Method {passport.method}, {passport.steps:,} steps over {passport.epochs:g} epochs "
            f"in {passport.precision}, seed {passport.seed}, Privatune {passport.code_version}."
            + _day(passport)
            + _bits(passport)
            + _steadied(passport),
            "",
            "| setting | value |",
            "|---|---|",
            *settings,
        ]
    )


def _day(passport: Passport) -> str:
    """Told because it is not the day of whoever asks the model."""
    day = passport.printed_day
    return f" Where the chat template writes today's date, it writes {day}." if day else ""


def _bits(passport: Passport) -> str:
    if not passport.nondeterministic:
        return ""
    operations = "; ".join(passport.nondeterministic)
    return f" Not deterministic, the last bits may differ in a repetition: {_plain(operations)}."


def _steadied(passport: Passport) -> str:
    if not passport.rollbacks:
        return ""
    return (
        f" The training blew up and was rolled back {passport.rollbacks:,} times; training rows "
        f"left out for it: {len(passport.skipped_rows):,}; the learning rate at the end was "
        f"{passport.rate_factor or 1:g} times what was planned."
    )


def _evaluation(passport: Passport) -> str:
    found = passport.evaluation
    rows = [
        ("training loss", found.train_loss),
        ("validation loss", found.validation_loss),
        ("validation loss of the base", found.base_validation_loss),
        ("validation loss of the model that training went on from", found.start_validation_loss),
        *sorted(found.metrics.items()),
    ]
    lines = [f"| {_plain(name)} | {value:.4f} |" for name, value in rows if value is not None]
    if not lines:
        return "## Evaluation\n\nNothing was measured on data outside training."
    shared = [_shared(found), ""] if found.validation_rows_in_training else []
    table = ["| measure | value |", "|---|---|", *lines]
    before = "the base" if found.start_validation_loss is None else "what training went on from"
    changed = ["", _changed(found.validation_change, before)] if found.validation_change else []
    preferred = ["", _preferred(found.preferences)] if found.preferences else []
    return "\n".join(["## Evaluation", "", *shared, *table, *changed, *preferred])


def _changed(change: Change, before: str) -> str:
    low, high = change.interval or (None, None)
    within = "" if low is None else f", 95% interval {low:+.4f} to {high:+.4f}"
    return (
        f"The validation loss changed by {change.difference:+.4f} against {before} over "
        f"{change.rows:,} rows{within}; paired permutation test p = {change.p_value:.4f}."
    )


def _preferred(found: Preferences) -> str:
    (low, high), (first, last) = found.after.interval, found.before.interval
    return (
        f"Of {found.pairs:,} pairs held out it scores the preferred answer higher in "
        f"{found.after.accuracy:.1%} (95% interval {low:.1%} to {high:.1%}); before training it "
        f"was {found.before.accuracy:.1%} ({first:.1%} to {last:.1%})."
    )


def _shared(found: Evaluation) -> str:
    return (
        f"{found.validation_rows_in_training:,} of the {found.validation_rows:,} validation rows "
        "are in the training data, too: the validation loss flatters the model."
    )


def _use(passport: Passport) -> str:
    return (
        "## Use\n\n"
        "`serve/README.md` says what can serve it, and how. `passport.json` has all of the above "
        "for machines, `license.json` the terms, `manifest.json` the SHA-256 of every file; "
        "`privatune verify` checks them and the signature offline."
    )


def _plain(text: str) -> str:
    """Text that cannot end a table cell or open HTML."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
