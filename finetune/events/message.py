"""What is said with a code and parameters: to people in their language, to programs by the code."""

import string
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

Level = Literal["info", "warn", "error"]


HUNDREDS = "hundreds"


class _Counting(string.Formatter):
    """str.format with plurals: `{rows:row|rows}` is "1 row" and "2 rows". In the template, because
    a sentence may count several things, where gettext's plural forms take one number; a language
    without plurals writes `{rows}`. A list is joined with commas. Of millions, a language that
    counts in hundreds of them writes `{millions:hundreds}`."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        if isinstance(value, list):
            return ", ".join(map(str, value))
        if format_spec == HUNDREDS:
            return f"{value / 100:g}"
        one, bar, many = format_spec.partition("|")
        if not bar:
            return super().format_field(value, format_spec)
        return f"{value} {one if value == 1 else many}"


def filled(words: str, params: Mapping[str, Any]) -> str:
    return _Counting().vformat(words, (), params)


class Sentence(BaseModel):
    """Its fields are its parameters, of which `words` (a template of str.format, and of _Counting's
    plurals) shows what a sentence needs."""

    model_config = ConfigDict(frozen=True)

    code: ClassVar[str]
    words: ClassVar[str]

    @property
    def params(self) -> dict[str, Any]:
        return self.model_dump()

    @classmethod
    def form(cls) -> str:
        """The English template of the event's message."""
        return cls.words

    @property
    def text(self) -> str:
        """In English, as the API gives it."""
        return self.told(self.form())

    def told(self, words: str) -> str:
        """In `words`, a translation of its own."""
        return filled(words, self.params)


class Message(Sentence):
    """One thing that a job's history says."""

    level: ClassVar[Level] = "info"

    def entry(self, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As an event has it, with `more` beside the parameters."""
        return {
            "level": self.level,
            "code": self.code,
            "message": self.text,
            "data": self.params | dict(more or {}),
        }


class Choice(Message):
    """What a setting that was left to us became, and why: `words` are the reason alone, before
    which the event names the setting."""

    setting: ClassVar[str]

    @classmethod
    def form(cls) -> str:
        return f"{cls.setting}: {cls.words}"

    @property
    def reason(self) -> str:
        return self.told(self.words)


T = TypeVar("T", bound=Sentence)


def kinds_of(of: type[T]) -> list[type[T]]:
    """Every class below that can be said, in the order of their definition."""
    below = [kind for each in of.__subclasses__() for kind in kinds_of(each)]
    return below or [of]
