"""What a fresh installation can be tried with: the demo's base, licensed to its first tenant, and
files of rows to train on, to validate with and to ask. Run by `privatune up` at each start, in a
process of its own; what is there already stays as it is, and what an operator took away stays away.

    python -m privatune.demo.samples TENANT    progress on standard error, JSON on standard output
"""

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import django

from faults import Fault
from privatune.demo.weights import LICENCE, weights

MODEL = "smollm2-135m-instruct"
TRAIN_ROWS, VALIDATION_ROWS = 120, 20
QUESTIONS = 40  # enough for an evaluation to give a verdict
ACTOR = "privatune up"
Say = Callable[[str], None]


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "privatune.settings")
    django.setup()
    logging.disable(logging.INFO)  # the same is said in words meant for people
    from django.conf import settings

    json.dump(ensure_samples(sys.argv[1], Path(settings.DATA) / "samples"), sys.stdout)
    return 0


def ensure_samples(slug: str, folder: Path) -> dict[str, str] | None:
    """The model's name and the files' paths; None where there is nothing to try. Ends with one
    clear line where it fails."""
    source = weights()
    try:
        if source is None or not ensure_base(slug, source, _say):
            return None
        return {"model": MODEL, **ensure_rows(folder, _say)}
    except (Fault, OSError) as error:
        raise SystemExit(str(error)) from error


def ensure_base(slug: str, source: Path, say: Say) -> bool:
    """Imports the base where the catalogue has none of its name, and gives the tenant a licence
    where it never had one. Whether the tenant may use it now."""
    from finetune.models import CatalogModel
    from finetune.services.models.catalog import import_model
    from tenants.database.scope import tenant_scope
    from tenants.errors import NotFound
    from tenants.models import License
    from tenants.models.licences import LicenseState
    from tenants.services.licences import issue_license
    from tenants.services.tenants import find_tenant

    try:
        tenant_id = find_tenant(slug=slug)
    except NotFound:  # destroyed since, or handed over under another name
        return False
    if not CatalogModel.objects.filter(name=MODEL).exists():
        say(f"Importing the base to try, {source.name} (once; --no-samples leaves it out) …")
        import_model(source=str(source), name=MODEL, licence=LICENCE, actor=ACTOR, progress=say)
    with tenant_scope(tenant_id):
        given = list(License.objects.filter(model=MODEL))
    if not given:
        given = [issue_license(tenant_id=tenant_id, model=MODEL, actor=ACTOR)]
    on_the_shelf = CatalogModel.objects.filter(name=MODEL, retired_at=None).exists()
    return on_the_shelf and any(each.state == LicenseState.ACTIVE for each in given)


def ensure_rows(folder: Path, say: Say) -> dict[str, str]:
    """The paths of a training, a validation and an evaluation file, of which no two have a row in
    common. Raises OSError."""
    paths = {name: folder / f"{name}.jsonl" for name in ("train", "validation", "questions")}
    if not all(path.exists() for path in paths.values()):
        from privatune.demo.commands import heldout_commands, train_commands, write_rows
        from privatune.demo.grammar import Grammar

        say("Writing rows to try …")
        grammar = Grammar()
        heldout = heldout_commands(grammar, VALIDATION_ROWS + QUESTIONS)
        drawn = {
            "train": train_commands(grammar, TRAIN_ROWS),
            "validation": heldout[:VALIDATION_ROWS],
            "questions": heldout[VALIDATION_ROWS:],
        }
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in paths.items():
            if not path.exists():
                partial = path.with_suffix(".tmp")
                write_rows(partial, drawn[name])
                partial.rename(path)
    return {name: str(path) for name, path in paths.items()}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
