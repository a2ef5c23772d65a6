"""What a job is asked against of its base before it is made: files that the web server must see."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from django.conf import settings

from faults import OurFault, UserFault
from finetune.families.contract import AdapterSpec
from finetune.families.layers import is_target, linear_layers, unmatched, vector_width
from finetune.models import CatalogModel
from finetune.trainer.objectives.vectors import VectorSettings, require_cuts

SHOWN = 64  # characters of a name that a request gave


class BaseMissing(OurFault):
    status = 503


class UnknownLayer(UserFault):
    """`values` are what its sentence in the person's language is filled with."""

    def __init__(self, name: str, near: list[str]) -> None:
        quoted = " or ".join(map(repr, near))
        super().__init__(
            "unknown_layer",
            f"The base has no linear layer {name!r} for an adapter; did you mean {quoted}?",
            fix="Name linear layers of the base's body, or leave `targets` out to adapt them all.",
            param="adapter.targets",
        )
        self.values = {"name": name, "near": ", ".join(near)}


@contextmanager
def files_of(base: CatalogModel) -> Iterator[Path]:
    """The base's folder. Raises BaseMissing when what is done in it finds that it is not there."""
    try:
        yield settings.MODEL_STORE / base.path
    except (OSError, ValueError) as error:
        raise BaseMissing(
            "base_missing",
            f"The files of the base model {base.name} cannot be read on this server.",
            fix="The operator must let the web server read PRIVATUNE_MODELS.",
        ) from error


def require_targets(adapter: AdapterSpec, base: CatalogModel) -> None:
    """Raises UserFault `unknown_layer` for the first target that is no linear layer of the base's
    body, with the nearest that is; BaseMissing."""
    if adapter.targets == "all-linear":
        return
    with files_of(base) as folder:
        names = [layer.name for layer in linear_layers(folder)]
    for each in unmatched(adapter.targets, names):
        wrong, kinds = each[:SHOWN], _kinds(names)
        near = get_close_matches(wrong, names if "." in wrong else kinds, n=1)
        raise UnknownLayer(wrong, near or kinds)


def require_width(adapter: AdapterSpec, base: CatalogModel) -> None:
    """Raises UserFault `invalid_value` where an adapter that begins in the base asks for more
    directions than a layer has; BaseMissing."""
    if not adapter.begins_in_the_base:
        return
    with files_of(base) as folder:
        layers = linear_layers(folder)
    if adapter.targets != "all-linear":
        layers = tuple(each for each in layers if is_target(each.name, adapter.targets))
    narrowest = min(layers, key=lambda each: min(each.out, each.into))
    width = min(narrowest.out, narrowest.into)
    if adapter.r > width:
        raise UserFault(
            "invalid_value",
            f"{narrowest.name} is {width} wide: `{adapter.init_lora_weights}` finds no "
            f"{adapter.r} directions in it.",
            fix=f"Lower `adapter.r` to {width}, leave that layer out of `adapter.targets`, or "
            "begin with `default`.",
            param="adapter.r",
        )


def require_dimensions(settings: Mapping[str, Any], base: CatalogModel) -> None:
    """`settings`: a method's, as they were asked. Raises UserFault `bad_dimensions` where vectors
    are to be cut to more than the base's have; BaseMissing."""
    if not settings.get("dimensions"):
        return
    with files_of(base) as folder:
        width = vector_width(folder)
    require_cuts(VectorSettings.model_validate(settings), width)


def _kinds(names: list[str]) -> list[str]:
    """Last parts, "q_proj" and the like, each once."""
    return list(dict.fromkeys(name.rpartition(".")[2] for name in names))
