"""The store that a URL names."""

from urllib.parse import parse_qsl, unquote, urlsplit

from tenants.vault.errors import VaultError
from tenants.vault.stores.contract import ObjectStore


def open_store(url: str) -> ObjectStore:
    """`file:///path`, or `s3://bucket/prefix?endpoint=URL&region=NAME` (credentials from AWS_*)."""
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and len(parts.path) > 1:
        from tenants.vault.stores.folder import FolderStore

        return FolderStore(unquote(parts.path))
    if parts.scheme == "s3" and parts.netloc:
        from tenants.vault.stores.s3 import S3Store

        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        if not options.keys() - {"endpoint", "region"}:
            return S3Store(
                parts.netloc,
                prefix=unquote(parts.path).strip("/"),
                endpoint_url=options.get("endpoint"),
                region=options.get("region"),
            )
    raise VaultError(
        "storage_url_invalid",
        f"The storage address {url!r} is not understood.",
        fix="Use file:///absolute/path or s3://bucket/prefix?endpoint=https://host&region=name.",
    )
