"""What negatives are mined of and with: rows of pairs, further texts, a model that embeds."""

from faults import UserFault
from finetune.models import Dataset
from finetune.services.files.profiling import readable_rows
from finetune.services.models import gateway
from finetune.services.models.gateway import Target
from finetune.serving.refusals import model_ranks, model_writes
from tenants.models import StoredFile

MOST_TEXTS = 100_000  # different ones: each query is compared with every document


def pairs_of(file: StoredFile) -> Dataset:
    """Raises UserFault for a file without rows of pairs, or one whose check has not ended well."""
    return _of_format(file, "retrieval", "file", "Name a file of rows with `query` and `positive`.")


def texts_of(file: StoredFile) -> Dataset:
    """Raises UserFault as `pairs_of`, of rows of texts."""
    return _of_format(file, "text", "corpus", "Name a file of rows with `text`, or none.")


def _of_format(file: StoredFile, wanted: str, param: str, fix: str) -> Dataset:
    reading = readable_rows(file, param=param)
    if reading.format != wanted:
        raise UserFault(
            "wrong_format",
            f"The file {file.public_id} has rows of the format {reading.format!r}, and "
            f"{wanted!r} is needed.",
            fix=fix,
            param=param,
        )
    return reading


def embedder(name: str) -> Target:
    """In the open scope. Raises as `gateway.resolve`, and UserFault for a model that makes no
    vectors."""
    target = gateway.resolve(name=name)
    if target.family == "reranking":
        raise model_ranks()
    if target.family != "embedding":
        raise model_writes()
    return target
