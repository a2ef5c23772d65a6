"""Has models judge the answers of a training beside it, in the tenant's own turns at the model
server, of which the training process knows nothing."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync

from faults import UserFault
from finetune.grading import specs
from finetune.grading.conversations import conversation
from finetune.grading.judges import judges_in, require_few
from finetune.grading.places import NoSuchPlace, TooLong
from finetune.services.jobs.judges import asker
from finetune.services.models import gateway
from finetune.services.models.gateway import Still, Target
from finetune.services.models.graders import judges_of, run_grader, targets_of
from finetune.services.models.patience import of_the_row, patiently
from finetune.storage import judgements_object
from finetune.trainer.rewards import Told
from finetune.trainer.spec import RunSpec
from tenants.access import Principal
from tenants.database.scope import release_connection
from tenants.vault.errors import ObjectMissing
from tenants.vault.vault import Vault

AT_ONCE = 4  # judgements; the tenant's own chats must still find a place
SECONDS = 3600.0  # for all of them
LONGEST_ERROR = 500  # characters
TOGETHER = 32  # conversations that a reward model is asked to score in one request
Sample = tuple[dict[str, Any], Any]  # as graders see it, and its row's item


@dataclass(frozen=True)
class Judging:
    """`parts`: the parts of the grader that ask a model. `job_id` None: of a try, of which nothing
    is kept."""

    tenant_id: UUID
    job_id: UUID | None
    vault: Vault
    parts: Sequence[specs.Asking]
    targets: Mapping[str, Target]

    @classmethod
    def of(
        cls, vault: Vault, spec: RunSpec, *, tenant_id: UUID, job_id: UUID | None
    ) -> "Judging | None":
        """In the open scope. None where its grader asks no model. Raises NotFound and Refused for
        one that the tenant may not ask."""
        if not spec.grader:
            return None
        grader = specs.GRADER.validate_python(spec.grader)
        parts = judges_in(grader)
        targets = targets_of(judges_of(grader))
        return cls(tenant_id, job_id, vault, parts, targets) if parts else None

    def told(self, samples: Sequence[Sample], still: Still) -> list[list[Told]]:
        """By part, of each sample. What was judged once stays so: it is kept until the job ends,
        and a step that is done again after a crash learns from the same rewards.

        Raises UserFault for what is too much, and what asking a model does; and what `still` does.
        """
        require_few(len(self.parts), len(samples))
        if self.job_id is None:
            return self._asked(samples, still)
        name = judgements_object(self.job_id, self._digest(samples))
        try:
            kept: list[list[Told]] = json.loads(self.vault.read_bytes(name))
        except ObjectMissing:
            kept = self._asked(samples, still)
            self.vault.put_bytes(name, json.dumps(kept).encode())
        return kept

    def _digest(self, samples: Sequence[Sample]) -> str:
        models = [
            [each.model, each.base_digest, each.adapter_digest] for each in self.targets.values()
        ]
        parts = [each.model_dump(mode="json") for each in self.parts]
        return sha256(json.dumps([models, parts, samples], sort_keys=True).encode()).hexdigest()

    def _asked(self, samples: Sequence[Sample], still: Still) -> list[list[Told]]:
        try:
            return async_to_sync(self._all)(samples, still)
        except TimeoutError:
            raise UserFault(
                "judge_too_slow",
                f"The judging model had not scored {len(samples)} answers in {SECONDS:.0f} s.",
                param="method.reinforcement.grader",
                fix="Lower batch_size or num_generations, or have a smaller model judge.",
            ) from None
        finally:
            release_connection()

    async def _all(self, samples: Sequence[Sample], still: Still) -> list[list[Told]]:
        places = asyncio.Semaphore(AT_ONCE)

        async def some(part: specs.Asking, samples: Sequence[Sample]) -> list[Told]:
            async with places:
                if isinstance(part, specs.RewardModel):
                    return await self._scored(part, samples, still)
                return [await self._judged(part, each, still) for each in samples]

        asked = [(part, each) for part in self.parts for each in _shares(part, samples)]
        tasks = [asyncio.ensure_future(some(*each)) for each in asked]
        try:
            async with asyncio.timeout(SECONDS):
                found = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        of_parts: list[list[Told]] = [[] for _ in self.parts]
        places_of = {id(part): at for at, part in enumerate(self.parts)}
        for (part, _), told in zip(asked, found, strict=True):
            of_parts[places_of[id(part)]] += told
        return of_parts

    @property
    def _by(self) -> Principal:
        return asker(self.tenant_id)

    async def _scored(
        self, part: specs.RewardModel, samples: Sequence[Sample], still: Still
    ) -> list[Told]:
        """All at once; where one of them cannot be scored, each half by itself."""
        try:
            shown = [conversation(part, *each) for each in samples]
            asked = partial(
                gateway.score,
                target=self.targets[part.model],
                conversations=shown,
                by=self._by,
                still=still,
            )
            found = await patiently(asked, still)
        except (UserFault, NoSuchPlace, TooLong) as fault:
            if isinstance(fault, UserFault) and not of_the_row(fault):
                raise
            if len(samples) == 1:
                return [[0.0, 0, str(fault)[:LONGEST_ERROR]]]
            half = len(samples) // 2
            return [
                told
                for some in (samples[:half], samples[half:])
                for told in await self._scored(part, some, still)
            ]
        tokens, more = divmod(found.prompt_tokens, len(samples))  # told of all of them together
        return [[score, tokens + (n < more), None] for n, score in enumerate(found.scores)]

    async def _judged(self, part: specs.ScoreModel, sample: Sample, still: Still) -> Told:
        asked = partial(
            run_grader,
            spec=part,
            sample=sample[0],
            item=sample[1],
            targets=dict(self.targets),
            by=self._by,
            still=still,
        )
        try:
            graded = await patiently(asked, still)
        except UserFault as fault:  # the judge is asked by the answer's own words
            if not of_the_row(fault):
                raise
            return [0.0, 0, fault.message[:LONGEST_ERROR]]
        error = next(iter(graded.errors.details.values()), None)
        tokens = sum(graded.tokens.values())
        return [graded.reward, tokens, error and error[:LONGEST_ERROR]]


def _shares(part: specs.Asking, samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    size = TOGETHER if isinstance(part, specs.RewardModel) else 1
    return [samples[at : at + size] for at in range(0, len(samples), size)]
