"""Every kind of leased work, once: tasks, nudges and the sweeper go by this table."""

from finetune.services.estimates.rehearsing import REHEARSE
from finetune.services.evaluations.evaluating import EVALUATE
from finetune.services.files.checking import CHECK
from finetune.services.files.profiling import PROFILE
from finetune.services.files.scrubbing import SCRUB
from finetune.services.forms.making import MAKE_FORM
from finetune.services.jobs.validation import VALIDATE
from finetune.services.mining.making import MINE
from finetune.services.pipelines.advancing import ADVANCE
from finetune.services.runs.training import TRAIN
from finetune.work.kinds import Kind

KINDS: tuple[Kind, ...] = (
    CHECK,
    VALIDATE,
    TRAIN,
    EVALUATE,
    REHEARSE,
    PROFILE,
    SCRUB,
    MINE,
    ADVANCE,
    MAKE_FORM,
)
