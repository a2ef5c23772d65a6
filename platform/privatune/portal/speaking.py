"""The pages' sentences for the APIs, whose own words are English."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from finetune.models import Dataset, Event, Job
from finetune.states import DatasetState
from privatune.portal import findings, history, phases, refusals
from privatune.portal.sentences import SENTENCES
from privatune.portal.sentences.programs import NOT_FOUND, PROGRAMS
from tenants.models import StoredFile


class Sentences:
    """In the active language; see finetune/api/words.py."""

    def error(self, code: str, about: Mapping[str, Any]) -> str | None:
        if code not in SENTENCES:
            missing = NOT_FOUND if code.endswith("_not_found") else None
            return str(PROGRAMS.get(code) or missing or "") or None
        told = refusals.kept({**about, "code": code})
        return str(told["said"]) if told else None

    def event(self, event: Event) -> str:
        return history.told(event)

    def phase(self, job: Job) -> str:
        return phases.told(job)

    def finding(self, found: dict[str, Any]) -> dict[str, Any]:
        return findings.told(found)

    def refusals(self, files: Sequence[StoredFile]) -> Mapping[UUID, str]:
        """One look for all of them."""
        refused = [each for each in files if each.status_details]
        readings = defaultdict(list)
        if refused:
            rows = Dataset.objects.filter(file__in=refused, state=DatasetState.REFUSED)
            for row in rows.order_by("created_at"):
                readings[row.file_id].append(row)
        said = {each.id: findings.refusal(each, readings[each.id]) for each in refused}
        return {name: words for name, words in said.items() if words}
