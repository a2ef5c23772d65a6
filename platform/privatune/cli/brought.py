"""The files of a job or an evaluation that are named by a path: uploaded for it, and taken back
where it is refused, so that nothing lies about that nobody uses."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.nesting import NO_JSON, loads
from finetune.purposes import Purpose
from privatune.cli.client import Client
from privatune.cli.exits import Exit, Stop
from privatune.cli.output import notes
from privatune.cli.upload import processed, refused, upload
from tenants import public_ids
from tenants.states import FileStatus


class Brought:
    """Turns what a command line names into file ids."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._uploaded: list[str] = []

    def file_id(self, named: str, *, purpose: Purpose = Purpose.TRAINING) -> str:
        """An id as it stands; a path is uploaded and must pass its check."""
        path = Path(named)
        if not path.is_file():
            require_file_id(named)
            return named
        file = upload(self._client, path, purpose=purpose)
        self._uploaded.append(str(file["id"]))
        file = processed(self._client, file)
        if file.get("status") == FileStatus.ERROR:
            raise refused(file, path)
        return str(file["id"])

    def take_back(self) -> None:
        for file_id in self._uploaded:
            try:
                self._client.delete(f"/v1/files/{file_id}")
            except Stop as stop:
                notes().print(f"The upload {file_id} stays in the server: {stop.message}")
            else:
                notes().print(f"The upload {file_id} is deleted again.")


def purpose_of(path: Path) -> Purpose:
    """Of a file of what is held out: training's where its first row is one to train on, else it is
    a suite's questions, of which a check of training data knows nothing."""
    # Here: they read every kind of row, and most commands read none
    from finetune.records.check.containers import suffix
    from finetune.records.check.formats import detect
    from finetune.records.check.problems import RowUnusable

    if not path.is_file() or suffix(path.name) not in (".jsonl", ".ndjson", ".json"):
        return Purpose.TRAINING
    with path.open("rb") as lines:
        first = next((line for line in lines if line.strip()), b"")
    try:
        detect(loads(first))
    except (RowUnusable, AttributeError, *NO_JSON):
        return Purpose.EVALS
    return Purpose.TRAINING


def require_file_id(named: str) -> None:
    """A path with a slip in it is told here, and not as an unknown id by the server."""
    if not named.startswith(public_ids.FILE.prefix):
        raise Stop(
            Exit.USAGE,
            f"There is no file {named} here, and it is no file id.",
            code="file_missing",
            fix=f"check the path, or give an id like {public_ids.FILE}, which "
            "`privatune files list` shows.",
        )


@contextmanager
def brought(client: Client) -> Iterator[Brought]:
    """Where the server gives no answer the uploads stay: it may have made the job all the same."""
    files = Brought(client)
    try:
        yield files
    except Stop as stop:
        if stop.exit_code is not Exit.UNAVAILABLE:
            files.take_back()
        raise
