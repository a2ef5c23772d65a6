"""Reads what a request carries: JSON with the place of a mistake, forms, query parameters."""

from typing import Any, TypeVar

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest
from pydantic import BaseModel

from faults import UserFault
from finetune.api.json_bodies import fit_object, read_bytes

Parsed = TypeVar("Parsed", bound=BaseModel)


def read_json(request: HttpRequest) -> Any:
    """The body as JSON. Raises UserFault with line and column of what is wrong."""
    return read_bytes(request.body)


def parse(model: type[Parsed], request: HttpRequest) -> Parsed:
    """The body as `model`. Raises UserFault naming the field at fault."""
    return fit_object(model, read_json(request))


def read_form(request: HttpRequest) -> dict[str, str]:
    """A multipart form's text fields; each may come once. Raises UserFault for other bodies."""
    if request.content_type != "multipart/form-data":
        raise UserFault(
            "form_expected",
            "This address takes a multipart/form-data body.",
            fix="Send the file as a form field, as `client.files.create(file=...)` does.",
        )
    fields = {name: values[-1] for name, values in request.POST.lists() if values}
    for name, value in fields.items():
        if "\0" in value:
            raise UserFault("invalid_value", f"`{name}` holds a NUL character.", param=name)
    return fields


def form_file(request: HttpRequest, name: str) -> "UploadedFile[bytes]":
    """The file in the form's field. Raises UserFault when it is missing."""
    file = request.FILES.get(name)
    if not isinstance(file, UploadedFile):
        raise UserFault(
            "missing_required_parameter",
            f"The form has no file in the field `{name}`.",
            fix=f"Send the bytes as the form's file field `{name}`.",
            param=name,
        )
    return file


def query(request: HttpRequest, known: frozenset[str]) -> dict[str, str]:
    """The query parameters. Raises UserFault for one that is not `known`, or that is given twice:
    a misspelt filter that is ignored would answer another question. One that is known as `name[]`
    may come as `name[key]`, with any key."""
    values: dict[str, str] = {}
    for name, given in request.GET.lists():
        if not _is_known(name, known):
            raise UserFault(
                "unknown_parameter",
                "There is no such query parameter.",
                fix="A filter by a key is written `metadata[key]=value`." if "[" in name else None,
                param=name[:64],
            )
        if len(given) > 1:
            raise UserFault("invalid_value", "A query parameter is given once.", param=name[:64])
        values[name] = value = str(given[0])
        if "\0" in value or "\0" in name:
            raise UserFault("invalid_value", "A NUL character is not allowed.", param=name[:64])
    return values


def _is_known(name: str, known: frozenset[str]) -> bool:
    base, opened, rest = name.partition("[")
    if not opened:
        return name in known
    return f"{base}[]" in known and len(rest) > 1 and rest.endswith("]")
