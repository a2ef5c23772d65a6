"""A migration for the names of models and fields, which are nothing to the database."""

from typing import Any

from django.apps import apps
from django.db.migrations.operations.base import Operation


class FollowWords(Operation):
    """Gives the models of the state the names, hints and labels of choices that the code has now.

    In place of an AlterField each: a hundred of those rebuild every model as often, for seconds,
    at each setting up of a database. Later changes of words need no migration at all.
    """

    reversible = True
    reduces_to_sql = False

    def state_forwards(self, app_label: str, state: Any) -> None:
        for (label, name), model in state.models.items():
            live: Any = apps.all_models[label].get(name) if label == app_label else None
            if live is None:
                continue
            own = {field.name: field for field in live._meta.local_fields}
            for field_name, field in model.fields.items():
                if field_name in own:
                    model.fields[field_name] = _like(field, own[field_name])
            for option in ("verbose_name", "verbose_name_plural"):
                if option in live._meta.original_attrs:
                    model.options[option] = live._meta.original_attrs[option]

    def database_forwards(self, *_: Any) -> None:
        """Nothing."""

    def database_backwards(self, *_: Any) -> None:
        """Nothing."""

    def describe(self) -> str:
        return "Follow the names that the code gives its models and fields"


def _like(field: Any, live: Any) -> Any:
    copy = field.clone()
    copy._verbose_name, copy.verbose_name = live._verbose_name, live.verbose_name
    copy.help_text = live.help_text
    if copy.choices and live.choices:
        copy.choices = live.choices
    return copy
