"""Import of base models: what may enter the model store, checked, hashed and made plain.

A base in the store is a folder `<digest-hex>/` that transformers loads without any remote code.
"""

from finetune.packaging.base.hub import download_base
from finetune.packaging.base.info import BaseModelInfo, check_base, damaged_files, read_base
from finetune.packaging.base.store import import_base

__all__ = [
    "BaseModelInfo",
    "check_base",
    "damaged_files",
    "download_base",
    "import_base",
    "read_base",
]
