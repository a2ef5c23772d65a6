"""The tenants' own words in the person's language."""

from typing import Any, NamedTuple

from django.utils.translation import gettext_lazy as _

from finetune.purposes import Purpose
from finetune.states import JobState, LeaseState
from tenants.models import LicenseState
from tenants.roles import Role, Scope
from tenants.states import FileStatus


class Badge(NamedTuple):
    """`colour` as Tabler names it; none is grey."""

    word: Any
    colour: str = ""


ROLE_NAMES: dict[Role, Any] = {
    Role.OWNER: _("owner"),
    Role.ADMIN: _("admin"),
    Role.ENGINEER: _("engineer"),
    Role.VIEWER: _("viewer"),
}
SCOPE_NAMES: dict[Scope, Any] = {
    Scope.FILES_READ: _("see and download files"),
    Scope.FILES_WRITE: _("upload and delete files"),
    Scope.JOBS_READ: _("follow jobs"),
    Scope.JOBS_WRITE: _("start and stop jobs"),
    Scope.MODELS_READ: _("see models"),
    Scope.MODELS_WRITE: _("delete models, and release withheld ones"),
    Scope.INFER: _("ask models"),
    Scope.ARTIFACTS_READ: _("take the weights away"),
    Scope.TENANT_READ: _("see licences, usage, members and the audit log"),
    Scope.TENANT_WRITE: _("change members and keys"),
}
STORAGE_KINDS: dict[str, Any] = {
    "files": _("files"),
    "uploads": _("unfinished uploads"),
    "rows": _("unpacked rows"),
    "reports": _("reports of checks"),
    "checkpoints": _("checkpoints"),
    "models": _("models"),
    "reserved": _("reserved for jobs under way"),
}
JOB_STATES: dict[str, Badge] = {
    JobState.VALIDATING_FILES: Badge(_("checking data"), "blue"),
    JobState.QUEUED: Badge(_("queued"), "blue"),
    JobState.RUNNING: Badge(_("training"), "blue"),
    JobState.PAUSED: Badge(_("paused"), "yellow"),
    JobState.SUCCEEDED: Badge(_("succeeded"), "green"),
    JobState.FAILED: Badge(_("failed"), "red"),
    JobState.CANCELLED: Badge(_("cancelled")),
}
PIPELINE_STATES: dict[str, Badge] = {
    "preparing": Badge(_("checking data"), "blue"),
    "running": Badge(_("training"), "blue"),
    "paused": Badge(_("paused"), "yellow"),
    "awaiting_approval": Badge(_("waits for approval"), "yellow"),
    "succeeded": Badge(_("succeeded"), "green"),
    "failed": Badge(_("failed"), "red"),
    "cancelled": Badge(_("cancelled")),
}
METHODS_TOLD: dict[str, Any] = {
    "supervised": _("Examples: learn the answers (supervised)"),
    "pretrain": _("Documents: learn the text (continued pre-training)"),
    "dpo": _("Preferences: favour the better of two answers (DPO)"),
    "orpo": _("Preferences: learn the better answer, and favour it (ORPO)"),
    "simpo": _("Preferences: favour the better answer, without asking the base (SimPO)"),
    "kto": _("Ratings: favour good answers, and avoid the others (KTO)"),
    "reinforcement": _("Rewards: favour answers that a grader scores higher (GRPO)"),
    "reward": _("Reward model: score the better of two answers higher"),
    "contrastive": _("Vectors: bring queries near what they shall find (contrastive)"),
    "cosent": _("Vectors: order pairs by how alike they are (CoSENT)"),
    "rerank": _("Reranker: score what belongs to a query above what does not"),
}
STAGE_WAITS = Badge(_("not begun"))
GATES: dict[str, Any] = {
    "none": _("nothing is asked"),
    "better": _("validation rows must be better than before"),
    "approval": _("somebody must approve"),
}
EVALUATION_STATES: dict[str, Badge] = {
    LeaseState.WAITING: Badge(_("queued"), "blue"),
    LeaseState.LEASED: Badge(_("answering"), "blue"),
    LeaseState.SUCCEEDED: Badge(_("succeeded"), "green"),
    LeaseState.FAILED: Badge(_("failed"), "red"),
    LeaseState.CANCELLED: Badge(_("cancelled")),
}
FILE_STATUSES: dict[str, Badge] = {
    FileStatus.UPLOADED: Badge(_("being checked"), "blue"),
    FileStatus.PROCESSED: Badge(_("usable"), "green"),
    FileStatus.ERROR: Badge(_("has problems"), "red"),
}
FILE_PURPOSES: dict[str, Badge] = {
    Purpose.TRAINING: Badge(_("training data")),
    Purpose.USER_DATA: Badge(_("other data")),
    Purpose.EVALS: Badge(_("questions of an evaluation")),
    Purpose.RESULTS: Badge(_("result of a job")),
}
LICENCE_STATES: dict[str, Badge] = {
    LicenseState.ACTIVE: Badge(_("active"), "green"),
    LicenseState.SUSPENDED: Badge(_("suspended"), "yellow"),
    LicenseState.REVOKED: Badge(_("revoked"), "red"),
}
