"""Files inside a form: read into an encrypted spool, never into a temporary file of plaintext."""

from typing import Any, cast

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler

from privatune.edge.held import hold
from tenants.vault.spool import EncryptedSpool


class EncryptedUploadHandler(FileUploadHandler):
    """Small files stay in memory; larger ones spill to disk as ciphertext (see EncryptedSpool)."""

    chunk_size = 1 << 20

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self._spool = EncryptedSpool(settings.FILE_UPLOAD_MAX_MEMORY_SIZE)
        if self.request is not None:
            hold(self.request, self._spool.close)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self._spool.write(raw_data)

    def file_complete(self, file_size: int) -> "UploadedFile[bytes]":
        self._spool.seek(0)
        return UploadedFile(
            file=cast(Any, self._spool),
            name=self.file_name,
            content_type=self.content_type,
            size=file_size,
            charset=self.charset,
            content_type_extra=self.content_type_extra,
        )

    def upload_interrupted(self) -> None:
        if hasattr(self, "_spool"):
            self._spool.close()
