"""Download of a base from the Hugging Face hub: safetensors and tokenizer only, never code."""

from functools import partial
from pathlib import Path
from typing import Any

from faults import UserFault
from finetune.packaging.base.folder import CONFIG_FILES, PLAIN_FILES

ALLOWED = (
    "*.safetensors",
    "model.safetensors.index.json",
    *CONFIG_FILES,
    *PLAIN_FILES,
    # of a model that makes vectors or scores (see records/recipe.py, records/ranking.py)
    *("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
    "1_Pooling/config.json",
    "LICENSE*",
    "NOTICE*",
    "USE_POLICY*",
)
# the same weights a second time, in the publisher's own layout
IGNORED = ("consolidated*", "original/*", "*/*.safetensors")


def download_base(hub_id: str, cache: Path, *, revision: str | None = None) -> tuple[Path, str]:
    """Download `owner/name` below `cache`; returns a folder of plain files for `import_base` and
    what it is: `owner/name@commit`.

    Continues a download that broke off. UserFault: `bad_hub_id`, `hub_offline`, `hub_not_found`,
    `hub_gated`.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    target = cache / hub_id.replace("/", "--")
    try:
        wanted: Any = partial(  # its overloads are lost
            snapshot_download,
            hub_id,
            local_dir=target,
            allow_patterns=list(ALLOWED),
            ignore_patterns=list(IGNORED),
        )
        wanted(revision=revision)
        if not (found := wanted(revision=revision, dry_run=True)):
            return target, hub_id  # it has no file of a model; the import says so
        commit = found[0].commit_hash
        wanted(revision=commit)  # fetches only what changed meanwhile
    except HFValidationError as error:
        raise UserFault(
            "bad_hub_id",
            f"{hub_id!r} is not a hub id: {error}",
            fix="Write it as owner/name.",
            param="source",
        ) from error
    except GatedRepoError as error:
        raise UserFault(
            "hub_gated",
            f"The publisher of {hub_id} asks for consent before download.",
            fix="Accept the terms on the model's page and set HF_TOKEN.",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise UserFault(
            "hub_not_found",
            f"The hub has no {hub_id}" + (f" at {revision}." if revision else "."),
            fix="Check the spelling; a private model needs HF_TOKEN.",
        ) from error
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise UserFault(
            "hub_offline",
            f"The hub could not be reached for {hub_id}: {error}",
            fix="Check the network (HF_ENDPOINT names a mirror), or copy the model folder to this "
            "machine and import the folder.",
        ) from error
    return target, f"{hub_id}@{commit}"
