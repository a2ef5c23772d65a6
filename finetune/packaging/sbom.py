"""The software that loads the artifact, as CycloneDX 1.6 JSON (`sbom.cdx.json`)."""

import uuid
from datetime import UTC
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from finetune.packaging.passport import Passport

ROOTS = ("peft", "safetensors", "tokenizers", "torch", "transformers")


def software_bill(
    passport: Passport, adapter_sha256: str, base_files: dict[str, str]
) -> dict[str, Any]:
    """The packages that made and load the adapter, at their installed versions, with edges, its
    base, and the base's own files that are handed on: {name: SHA-256}.

    Deterministic for one passport and one environment.
    """
    packages = _closure()
    model_ref = f"artifact:{passport.name}"
    base = _base(passport, base_files)
    components = [_component(name, version) for name, (version, _) in sorted(packages.items())]
    known = {name: _purl(name, version) for name, (version, _) in packages.items()}
    edges = [
        {"ref": known[name], "dependsOn": sorted(known[needed] for needed in needs)}
        for name, (_, needs) in sorted(packages.items())
    ]
    roots = sorted(known[name] for name in ROOTS if name in known)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, adapter_sha256)}",
        "version": 1,
        "metadata": {
            "timestamp": passport.created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "machine-learning-model",
                "bom-ref": model_ref,
                "name": passport.name,
                "hashes": [{"alg": "SHA-256", "content": adapter_sha256}],
            },
        },
        "components": [base, *components],
        "dependencies": [{"ref": model_ref, "dependsOn": [base["bom-ref"], *roots]}, *edges],
    }


def _base(passport: Passport, files: dict[str, str]) -> dict[str, Any]:
    base = passport.base
    place = f"https://huggingface.co/{base.hub_id}/tree/{base.revision}"
    return {
        "type": "machine-learning-model",
        "bom-ref": f"base:{base.digest}",
        "name": base.name,
        "version": base.digest,
        "licenses": [{"license": {"name": base.licence}}],
        **({"externalReferences": [{"type": "distribution", "url": place}]} if base.hub_id else {}),
        "components": [
            {"type": "file", "name": name, "hashes": [{"alg": "SHA-256", "content": sha256}]}
            for name, sha256 in sorted(files.items())
        ],
    }


def _closure() -> dict[str, tuple[str, list[str]]]:
    """Installed packages reachable from `ROOTS`: {name: (version, names it needs)}."""
    found: dict[str, tuple[str, list[str]]] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue  # an optional requirement that this environment does without
        needs = sorted({_name(line) for line in installed.requires or [] if _applies(line)})
        found[name] = (installed.version, needs)
        waiting.extend(needs)
    return {
        name: (version, [need for need in needs if need in found])
        for name, (version, needs) in found.items()
    }


def _applies(line: str) -> bool:
    marker = Requirement(line).marker
    return marker is None or marker.evaluate({"extra": ""})


def _name(line: str) -> str:
    return canonicalize_name(Requirement(line).name)


def _purl(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version.replace('+', '%2B')}"


def _component(name: str, version: str) -> dict[str, Any]:
    purl = _purl(name, version)
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
    }
