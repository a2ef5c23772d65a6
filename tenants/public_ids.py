"""The ids that the APIs and the command line show: a prefix that says what is meant, then the row's
UUID as 32 hex digits. The one table of them; each model names its own. Pure."""

import re
from dataclasses import dataclass
from uuid import UUID

HEX = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class PublicId:
    prefix: str
    noun: str  # as messages name such a row

    def of(self, key: UUID) -> str:
        return f"{self.prefix}{key.hex}"

    def read(self, text: str) -> UUID | None:
        """The UUID in `<prefix><32 hex digits>`, else None."""
        rest = text.removeprefix(self.prefix)
        return UUID(rest) if rest != text and HEX.fullmatch(rest) else None

    @property
    def missing(self) -> str:
        """The code of the answer that there is no such row."""
        return f"{self.noun.split()[-1]}_not_found"

    def __str__(self) -> str:
        """As help texts show one: `file-...`."""
        return f"{self.prefix}..."


ORGANISATION = PublicId("org-", "organisation")
FILE = PublicId("file-", "file")
UPLOAD = PublicId("upload_", "upload")
PART = PublicId("part_", "part")
DATASET = PublicId("dataset-", "dataset")
JOB = PublicId("ftjob-", "fine-tuning job")
EVENT = PublicId("ftevent-", "event")
CHECKPOINT = PublicId("ftckpt_", "checkpoint")
PIPELINE = PublicId("pipeline-", "pipeline")
ESTIMATE = PublicId("estimate-", "estimate")
PROFILE = PublicId("profile-", "profile")
SCRUB = PublicId("scrub-", "scrub")
MINING = PublicId("mining-", "mining")
ARTIFACT = PublicId("artifact-", "artifact")
FORM = PublicId("form-", "form")
SUITE = PublicId("eval_", "eval")
EVALUATION = PublicId("evalrun_", "evaluation")
LICENCE = PublicId("license-", "licence")
USAGE = PublicId("usage-", "usage entry")
KEY = PublicId("key-", "key")
MEMBER = PublicId("member-", "member")
INVITATION = PublicId("invitation-", "invitation")
AUDIT = PublicId("audit-", "audit entry")
