"""One rendering of a whole conversation that answers for its beginnings, too.

A template that writes message after message, and looks at none before its turn, writes of the
first messages alone what it writes of them in the whole. Whether it does so is not guessed: while
it renders, its messages tell which of them it looked at, and when. Beginnings that it treats
otherwise, as Qwen's do a tool's answer by what follows it, are not answered for. What a template
writes behind the last message must not depend on the messages; that is read off its source.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes

from finetune.records.rendering import stock

MESSAGES, PROMPT = "messages", "add_generation_prompt"


class Unwatchable(Exception):
    """The template does with its messages what cannot be watched."""


class Watched:
    """What a template wrote of a conversation: `text`, and where in it each beginning ends."""

    def __init__(
        self,
        source: str,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]] | None,
        variables: Mapping[str, Any],
        *,
        prompt: bool = False,
    ) -> None:
        """As transformers' `render_jinja_template`. Raises Unwatchable, and what a template may."""
        if not is_watchable(source):
            raise Unwatchable
        plain = stock()._plain_template_data
        self._count = len(messages)
        self._length = 0  # of what is written so far
        self._ends: dict[int, int] = {}  # of the first n messages -> how much is written then
        self._altered: set[int] = set()  # beginnings that it would write otherwise
        self._taken = 0
        self._iterated = False
        shown = _Shown(self, stock()._alias_reasoning_fields([*map(_plain_message, messages)]))
        parts = []
        for part in (
            stock()
            ._compile_jinja_template(source)
            .generate(
                messages=shown,
                tools=plain(tools),
                documents=None,
                **{PROMPT: prompt},
                **plain(dict(variables)),
            )
        ):
            parts.append(part)
            self._length += len(part)
        self.text = "".join(parts)

    def until(self, count: int) -> str | None:
        """What it writes of the first `count` messages, without what it writes behind the last of
        a conversation; None where that cannot be told."""
        if count in self._altered or count not in self._ends:
            return None
        return self.text[: self._ends[count]]

    @property
    def behind(self) -> str | None:
        """What it writes behind the last message."""
        end = self._ends.get(self._count)
        return None if end is None else self.text[end:]

    # --- told by the messages

    def look_at(self, index: int) -> None:
        """At a message, whose turn may not have come: what has fewer would be seen to lack it."""
        self._altered.update(range(max(self._taken, 1), min(index, self._count - 1) + 1))

    def look_at_all(self) -> None:
        self.look_at(self._count - 1)

    def begin(self) -> None:
        if self._iterated:
            raise Unwatchable
        self._iterated = True

    def take(self, index: int, *, early: bool) -> None:
        """The message is asked for by the loop: all before it is written, unless it peeks."""
        if early:
            self.look_at(index)
        else:
            self._ends[index] = self._length
        self._taken = index + 1


def _plain_message(message: dict[str, Any]) -> dict[str, Any]:
    """As `_plain_template_data` makes it, which looks long at each string; the keys are ours."""
    plain = stock()._plain_template_data
    return {key: value if type(value) is str else plain(value) for key, value in message.items()}


class _Shown:
    """The messages from `start` on, as a template sees them. Anything that it may do with a list
    and not with this ends the rendering."""

    def __init__(self, watched: Watched, messages: list[dict[str, Any]], start: int = 0) -> None:
        self._watched, self._messages, self._start = watched, messages, start

    def __bool__(self) -> bool:
        if self._start:
            self._watched.look_at(self._start)
        return self._start < len(self._messages)

    def __len__(self) -> int:
        self._watched.look_at_all()
        return len(self._messages) - self._start

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return _Turns(self._watched, self._messages, self._start)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            if key.stop is None and key.step is None and (key.start or 0) >= 0:
                return _Shown(self._watched, self._messages, self._start + (key.start or 0))
            self._watched.look_at_all()
            return self._messages[self._start :][key]
        if not isinstance(key, int):
            raise TypeError
        if key < 0:
            self._watched.look_at_all()
            return self._messages[self._start :][key]
        self._watched.look_at(self._start + key)
        return self._messages[self._start + key]

    def _refuse(self, *_: Any) -> Any:
        raise Unwatchable

    __str__ = __repr__ = __eq__ = __contains__ = __hash__ = __html__ = _refuse


class _Turns(Iterator[dict[str, Any]]):
    def __init__(self, watched: Watched, messages: list[dict[str, Any]], start: int) -> None:
        self._watched, self._messages, self._next = watched, messages, start
        self._begun = False

    def __next__(self) -> dict[str, Any]:
        if not self._begun:
            self._watched.begin()
            self._begun = True
        index, self._next = self._next, self._next + 1
        self._watched.take(index, early=not _is_turn(sys._getframe(1)))
        if index >= len(self._messages):
            raise StopIteration
        return self._messages[index]


def _is_turn(frame: Any) -> bool:
    """Whether a loop of the template itself goes on; not its `loop.last`, and no filter."""
    if _is_template(frame) and frame.f_code.co_name != "root":
        frame = frame.f_back  # the condition of a loop is a generator of its own
    if _is_template(frame):
        return bool(frame.f_code.co_name == "root")
    return bool(frame.f_code is jinja2.runtime.LoopContext.__next__.__code__)


def _is_template(frame: Any) -> bool:
    return frame is not None and "debug_info" in frame.f_globals and "blocks" in frame.f_globals


# --- read off the source


def is_watchable(source: str) -> bool:
    """Whether one loop at the top goes through the messages, and what stands behind it knows of
    nothing that was set in it; only that asks whether a prompt is wanted."""
    return _parted(source) is not None


def ends_alike(source: str) -> bool:
    """Of a template that can be watched: whether what it writes behind the messages is the same for
    every conversation, as nothing there was set by it before."""
    return not _parted(source)


@lru_cache(maxsize=64)
def _parted(source: str) -> frozenset[str] | None:
    """The names set in front of the loop that what stands behind it knows; None: unwatchable."""
    template = stock()._compile_jinja_template(source)
    body = [each for each in template.environment.parse(source).body if not _is_never(each)]
    root = nodes.Template(body)
    tainted = _tainted(root)
    loops = [loop for loop in root.find_all(nodes.For) if _may_be_all(loop.iter, tainted)]
    if len(loops) != 1 or loops[0].recursive or loops[0].else_ or loops[0] not in body:
        return None
    place = body.index(loops[0]) + 1
    before, after = nodes.Template(body[:place]), nodes.Template(body[place:])
    if list(root.find_all((nodes.Block, nodes.Extends, nodes.Include, nodes.Import))):
        return None
    known = _changed(root, loops[0]) | tainted | {"tools", "loop", "self", "caller"}
    if PROMPT in _names(before) or _names(after) & known:
        return None
    ahead = nodes.Template(body[: place - 1])
    return frozenset(_names(after) & _stored(ahead))


def _is_never(node: nodes.Node) -> bool:
    """`if add_generation_prompt is not defined`: it always is."""
    if not isinstance(node, nodes.If) or node.elif_ or node.else_:
        return False
    test = node.test
    if isinstance(test, nodes.Not):
        return _tests(test.node, "defined")
    return _tests(test, "undefined")


def _tests(node: nodes.Node, name: str) -> bool:
    return (
        isinstance(node, nodes.Test)
        and node.name == name
        and isinstance(node.node, nodes.Name)
        and node.node.name == PROMPT
    )


def _names(node: nodes.Node) -> set[str]:
    refs = {each.name for each in node.find_all(nodes.NSRef)}
    own = {node.name} if isinstance(node, nodes.Name | nodes.NSRef) else set()
    return {each.name for each in node.find_all(nodes.Name)} | refs | own


def _stored(root: nodes.Node) -> set[str]:
    named = {each.name for each in root.find_all(nodes.Name) if each.ctx != "load"}
    macros = {each.name for each in root.find_all(nodes.Macro)}
    return named | macros | {each.name for each in root.find_all(nodes.NSRef)}


def _changed(root: nodes.Node, loop: nodes.For) -> set[str]:
    """Names that are set in the loop, or may be: macros and namespaces are not told apart by
    place."""
    refs = {each.name for each in root.find_all(nodes.NSRef)}
    macros = [*root.find_all((nodes.Macro, nodes.CallBlock))]
    inner = set[str]().union(*(_stored(each) for each in macros))
    return _stored(loop) | refs | inner | {each.name for each in root.find_all(nodes.Macro)}


def _tainted(root: nodes.Node) -> set[str]:
    """Names of what may hold the messages."""
    tainted: set[str] = {MESSAGES}
    assigns: list[nodes.Assign | nodes.AssignBlock] = [
        *root.find_all(nodes.Assign),
        *root.find_all(nodes.AssignBlock),
    ]
    while True:
        more = set[str]()
        for each in assigns:
            value = each.node if isinstance(each, nodes.Assign) else each
            if _names(value) & tainted:
                more |= _names(each.target)
        if more <= tainted:
            return tainted
        tainted |= more


def _may_be_all(node: nodes.Node, tainted: set[str]) -> bool:
    """Whether it may be the list of messages; one message, or something in it, is not."""
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        if isinstance(node, nodes.Getitem) and not isinstance(node.arg, nodes.Slice):
            return False
        node = node.node
    return bool(_names(node) & tainted)
