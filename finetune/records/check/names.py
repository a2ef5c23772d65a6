"""What the ending of a file's name promises. The content decides how a file is read; a name that
says another thing is a finding, as the wrong file may have been taken."""

from finetune.records.check.problems import Finding
from finetune.records.check.spec import Container

PROMISED: dict[str, Container] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
}
# Of programs whose files are no rows: what has such a name and is text was renamed, or is broken.
FOREIGN = frozenset(
    {
        *(".pdf", ".doc", ".docx", ".wps", ".rtf", ".odt", ".xls", ".xlsx", ".et", ".ods"),
        *(".ppt", ".pptx", ".html", ".htm", ".xml", ".zip", ".png", ".jpg", ".jpeg", ".gif"),
        *(".mp3", ".mp4", ".exe"),
    }
)
CONTENT: dict[Container, str] = {
    "jsonl": "JSON lines",
    "csv": "a table (CSV)",
    "text": "plain text",
    "parquet": "Parquet",
}


def json_as_text(ending: str) -> Finding:
    return Finding(
        "json_as_text",
        message=f"The name ends in {ending}, so that the file is read as plain text, but its lines "
        "are JSON.",
        values={"ending": ending},
    )


def disagreement(ending: str, container: Container) -> Finding | None:
    """`ending` as in `.csv`; one that promises nothing disagrees with nothing."""
    if ending not in FOREIGN and PROMISED.get(ending, container) == container:
        return None
    content = CONTENT[container]
    return Finding(
        "name_disagrees",
        message=f"The name ends in {ending}, but the content is {content}.",
        values={"ending": ending, "content": content},
    )
