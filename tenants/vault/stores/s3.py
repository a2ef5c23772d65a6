"""Objects in an S3 bucket: written as multipart uploads, read in ranges.

Credentials come from boto3's own places (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, a role).
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tenants.vault.errors import ObjectDamaged, ObjectMissing, StorageDown, StorageFull, VaultError
from tenants.vault.stores.contract import DAY, Writer, check_key, check_prefix

PART = 16 << 20  # bytes; S3 allows 10,000 parts, so an object may have 156 GiB
_MISSING = {"NoSuchKey", "404", "NotFound"}
_FULL = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull"}
_NO_ANSWER = (BotoCoreError, OSError)
_ATTEMPTS = 3  # a refused connection is known in 0.2 s, a silent host in 10 s
# boto3 would otherwise add checksums that other servers do not know, and check ranges against the
# checksum of the whole; the vault authenticates every byte anyway.
_CONFIG = Config(
    connect_timeout=3,
    read_timeout=30,
    retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    max_pool_connections=32,
)


class S3Store:
    """A store under `prefix` of a bucket that exists; safe to share between threads."""

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        endpoint_url: str | None = None,
        region: str | None = None,
    ) -> None:
        self.bucket = bucket
        self._prefix = f"{check_key(prefix)}/" if prefix else ""
        self.where = f"{endpoint_url or 's3:/'}/{bucket}"
        style = {"addressing_style": "path" if endpoint_url else "auto"}
        with self._explained():
            self._client: Any = boto3.Session().client(
                "s3",
                endpoint_url=endpoint_url,
                region_name=region or ("us-east-1" if endpoint_url else None),
                config=_CONFIG.merge(Config(s3=style)),
            )

    @contextmanager
    def write(self, key: str) -> Iterator[Writer]:
        writer = _PartsWriter(self, self.full_key(key))
        try:
            yield writer
            writer.complete()
        except BaseException as error:
            writer.abandon(error)
            raise

    def open(self, key: str) -> BinaryIO:
        head = self.call("head_object", key, Key=self.full_key(key))
        return io.BufferedReader(_RangeReader(self, key, head), 1 << 18)

    def size(self, key: str) -> int:
        return int(self.call("head_object", key, Key=self.full_key(key))["ContentLength"])

    def delete(self, key: str) -> None:
        self.call("delete_object", Key=self.full_key(key))

    def list(self, prefix: str = "", older_than_s: float = 0) -> Iterator[str]:
        before = datetime.now(UTC) - timedelta(seconds=older_than_s)
        start = self._prefix + check_prefix(prefix)
        with self._explained():
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=start):
                for entry in page.get("Contents", []):
                    if not older_than_s or entry["LastModified"] <= before:
                        yield entry["Key"].removeprefix(self._prefix)

    def health(self) -> None:
        probe = f"{self._prefix}health-probe"
        self.call("put_object", Key=probe, Body=b"")
        self.call("delete_object", Key=probe)

    def sweep_partial(self, older_than_s: float = DAY) -> int:
        before = datetime.now(UTC) - timedelta(seconds=older_than_s)
        swept = 0
        with self._explained():
            for upload in self._unfinished():
                if upload["Initiated"] <= before:
                    self.abort(upload["Key"], upload["UploadId"])
                    swept += 1
        return swept

    def _unfinished(self) -> Iterator[dict[str, Any]]:
        pages = self._client.get_paginator("list_multipart_uploads")
        try:
            for page in pages.paginate(Bucket=self.bucket, Prefix=self._prefix):
                yield from page.get("Uploads", [])
        except ClientError as error:
            # rclone's way of saying that the bucket has none
            if error.response["Error"].get("Code") != "NoSuchUpload":
                raise

    def abort(self, full_key: str, upload_id: str) -> None:
        """Forget an unfinished upload; one that is already gone is no error."""
        try:
            self._client.abort_multipart_upload(
                Bucket=self.bucket, Key=full_key, UploadId=upload_id
            )
        except ClientError as error:
            if error.response["Error"].get("Code") != "NoSuchUpload":
                raise

    def call(self, operation: str, key: str = "", **arguments: Any) -> Any:
        """One request about this bucket, with our errors; `key` is what ObjectMissing names."""
        with self._explained(key):
            return getattr(self._client, operation)(Bucket=self.bucket, **arguments)

    def full_key(self, key: str) -> str:
        return self._prefix + check_key(key)

    @contextmanager
    def _explained(self, key: str = "") -> Iterator[None]:
        """Turn boto3's errors into ours."""
        try:
            yield
        except ClientError as error:
            raise self._explain(error, key) from error
        except _NO_ANSWER as error:
            raise StorageDown(self.where, error) from error

    def _explain(self, error: ClientError, key: str) -> VaultError:
        code = error.response["Error"].get("Code", "")
        if code in _FULL or error.response["ResponseMetadata"].get("HTTPStatusCode") == 507:
            return StorageFull(self.where)
        if code == "NoSuchBucket" or (code in _MISSING and self._bucket_is_gone()):
            return StorageDown(self.where, "there is no such bucket", "Create the bucket.")
        if key and code in _MISSING:
            return ObjectMissing(key)
        return StorageDown(self.where, error)

    def _bucket_is_gone(self) -> bool:
        """A HEAD of an object answers 404 for either reason, and an empty disk must not pass."""
        try:
            self._client.head_bucket(Bucket=self.bucket)
        except ClientError as error:
            return error.response["Error"].get("Code", "") in _MISSING
        return False


class _PartsWriter:
    """Gathers parts; a small object is one request, and nothing shows before `complete`."""

    def __init__(self, store: S3Store, full_key: str) -> None:
        self._store = store
        self._full_key = full_key
        self._waiting = bytearray()
        self._upload: dict[str, str] = {}
        self._parts: list[dict[str, Any]] = []
        self._error: VaultError | None = None

    def write(self, data: bytes, /) -> int:
        self._waiting += data
        while len(self._waiting) >= PART:
            self._send_part(PART)
        return len(data)

    def complete(self) -> None:
        if self._error is not None:  # swallowed by the caller; a hole must not be published
            raise self._error
        if not self._upload:
            self._store.call("put_object", Key=self._full_key, Body=bytes(self._waiting))
            return
        if self._waiting:
            self._send_part(len(self._waiting))
        parts = {"Parts": self._parts}
        self._store.call("complete_multipart_upload", **self._upload, MultipartUpload=parts)

    def abandon(self, error: BaseException) -> None:
        """Drop what was sent; where the storage is down too, that is left to the sweep."""
        if self._upload and not isinstance(error, StorageDown):
            with suppress(ClientError, BotoCoreError, OSError):
                self._store.abort(self._full_key, self._upload["UploadId"])

    def _send_part(self, size: int) -> None:
        try:
            if not self._upload:
                begun = self._store.call("create_multipart_upload", Key=self._full_key)
                self._upload = {"Key": self._full_key, "UploadId": begun["UploadId"]}
            number = len(self._parts) + 1
            body = bytes(self._waiting[:size])
            sent = self._store.call("upload_part", **self._upload, PartNumber=number, Body=body)
        except VaultError as error:
            self._error = error
            raise
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        del self._waiting[:size]


class _RangeReader(io.RawIOBase):
    """Reads on in one response while the reading is sequential; a seek asks for a new range."""

    def __init__(self, store: S3Store, key: str, head: dict[str, Any]) -> None:
        self._store = store
        self._key = key
        self._size = int(head["ContentLength"])
        self._etag = head["ETag"]
        self._place = 0
        self._body: Any = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        if base + offset != self._place:
            self._drop_body()
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any, /) -> int:
        wanted = min(len(buffer), self._size - self._place)
        if wanted <= 0:
            return 0
        data = self._read(wanted)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def _read(self, size: int) -> bytes:
        """At least one byte; a connection that broke is opened again where it broke."""
        cause: Exception = EOFError("the response ended early")
        for _ in range(_ATTEMPTS):
            if self._body is None:
                self._body = self._request()
            try:
                if data := self._body.read(size):
                    return bytes(data)
            except _NO_ANSWER as error:
                cause = error
            self._drop_body()
        raise StorageDown(self._store.where, cause) from cause

    def _request(self) -> Any:
        full_key, span = self._store.full_key(self._key), f"bytes={self._place}-"
        answer = self._store.call("get_object", self._key, Key=full_key, Range=span)
        if answer["ETag"] != self._etag:  # not IfMatch, which some servers ignore
            answer["Body"].close()
            raise ObjectDamaged(self._key, "it was replaced while it was being read")
        return answer["Body"]

    def _drop_body(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def close(self) -> None:
        self._drop_body()
        super().close()
