"""The bases and adapters in memory; those unused for longest go first. Nothing touches the disk
but reading a base."""

from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

from faults import OurFault, UserFault
from finetune.families.contract import ReadAdapter
from finetune.serving.bases import AnyBase, Precision, load_base


class _Key(NamedTuple):
    """A digest alone is no right: equal bytes of another tenant are another adapter."""

    base: str
    tenant: str
    digest: str


class ModelStore:
    """Whoever holds a base or an adapter keeps it usable after it has been put out of the store.

    `base` and `add_adapter` may take seconds; call them from one loading thread.
    """

    def __init__(self, *, max_bases: int, adapter_bytes: int, precision: Precision) -> None:
        self._max_bases = max_bases
        self.adapter_bytes = adapter_bytes
        self._precision: Precision = precision
        self._bases: OrderedDict[str, AnyBase] = OrderedDict()
        self._adapters: OrderedDict[_Key, ReadAdapter] = OrderedDict()

    def bases(self) -> list[AnyBase]:
        return list(self._bases.values())

    def adapters_of(self, base: AnyBase) -> list[tuple[str, str]]:
        """(tenant, digest) of each."""
        return [(key.tenant, key.digest) for key in list(self._adapters) if key.base == base.digest]

    def loaded(self, digest: str) -> AnyBase | None:
        """The base, if it is in memory; counts as a use."""
        base = self._bases.get(digest)
        if base is not None:
            self._bases.move_to_end(digest)
        return base

    def base(self, path: Path, digest: str) -> AnyBase:
        """The base, read from its folder if need be. Raises what `load_base` raises."""
        if (known := self.loaded(digest)) is not None:
            return known
        while len(self._bases) >= self._max_bases:
            self._drop_base(next(iter(self._bases)))
        self._bases[digest] = load_base(path, digest, self._precision)
        return self._bases[digest]

    def adapter(self, base_digest: str, tenant: str, digest: str) -> ReadAdapter:
        """Raises OurFault `adapter_not_loaded`: the caller then sends it and asks again."""
        key = _Key(base_digest, tenant, digest)
        if base_digest not in self._bases or key not in self._adapters:
            raise OurFault(
                "adapter_not_loaded",
                f"The adapter {digest} is not in this server's memory.",
                fix="Send it with load_adapter and ask again.",
            )
        self._adapters.move_to_end(key)
        return self._adapters[key]

    def has_adapter(self, base_digest: str, tenant: str, digest: str) -> bool:
        return base_digest in self._bases and _Key(base_digest, tenant, digest) in self._adapters

    def add_adapter(
        self, base: AnyBase, tenant: str, digest: str, safetensors: bytes, config: dict[str, Any]
    ) -> None:
        """Read an adapter and put out others to keep within the memory for adapters."""
        adapter = base.model.read_adapter(safetensors, config)
        key = _Key(base.digest, tenant, digest)
        self._adapters[key] = adapter
        self._adapters.move_to_end(key)
        while sum(a.nbytes for a in self._adapters.values()) > self.adapter_bytes:
            if len(self._adapters) == 1:
                break  # checked on upload; the base's type may be wider than the file's
            self._adapters.popitem(last=False)

    def check_upload(self, size: int) -> None:
        """Raises UserFault `adapter_too_large` before the bytes are read."""
        if size > self.adapter_bytes:
            raise UserFault(
                "adapter_too_large",
                f"The adapter has {size >> 20} MB; this server keeps {self.adapter_bytes >> 20}.",
                fix="Train with a smaller r, or start the server with more --adapter-mb.",
            )

    def evict(self, tenant: str, *, base_digest: str | None, digest: str | None) -> int:
        """Drop a tenant's adapters, of one base or digest where given; how many there were."""
        doomed = [
            key
            for key in list(self._adapters)
            if key.tenant == tenant
            and base_digest in (None, key.base)
            and digest in (None, key.digest)
        ]
        for key in doomed:
            self._adapters.pop(key, None)
        return len(doomed)

    def _drop_base(self, digest: str) -> None:
        del self._bases[digest]
        for key in [key for key in self._adapters if key.base == digest]:
            del self._adapters[key]
