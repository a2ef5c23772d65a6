"""All that a check loads, and no torch: imported by the process that checks are forked from."""

from finetune.records.check.bounds import do_without_torch

do_without_torch()  # before what follows looks for it

from tokenizers import Tokenizer  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402
from transformers.utils import chat_template_utils  # noqa: E402

import finetune.records.check.run  # noqa: E402

__all__ = ["AutoTokenizer", "Tokenizer", "chat_template_utils", "finetune"]
