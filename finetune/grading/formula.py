"""The formula of a multi grader: numbers, the graders' names, + - * / ^, and a few functions."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def _least(*values: float) -> float:
    return min(values)  # of one, too, which Python's own does not take


def _most(*values: float) -> float:
    return max(values)


# By name: the function, and how many arguments it takes (None: one or more).
_FUNCTIONS: dict[str, tuple[Callable[..., float], int | None]] = {
    "min": (_least, None),
    "max": (_most, None),
    "abs": (abs, 1),
    "floor": (math.floor, 1),
    "ceil": (math.ceil, 1),
    "exp": (math.exp, 1),
    "sqrt": (math.sqrt, 1),
    "log": (math.log, 1),
}


def parse(text: str, names: frozenset[str]) -> ast.expr:
    """Raises ValueError for anything but arithmetic on these names."""
    try:
        tree = ast.parse(text.replace("^", "**"), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError("calculate_output is no formula") from None
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        _require(node, names, called=node in called)
    return tree


def evaluate(text: str, scores: Mapping[str, float]) -> float:
    """Raises ValueError as `parse`, and where the numbers have no result (1/0, a huge power)."""
    try:
        value = float(_value(parse(text, frozenset(scores)), scores))
    except (ArithmeticError, ValueError, RecursionError) as error:
        raise ValueError(f"calculate_output has no value: {error}") from None
    if not math.isfinite(value):
        raise ValueError("calculate_output has no finite value")
    return value


def _require(node: ast.AST, names: frozenset[str], *, called: bool) -> None:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return
        case ast.Name(id=name) if name in (_FUNCTIONS if called else names):
            return
        case ast.BinOp(op=op) if type(op) in _BINARY:
            return
        case ast.UnaryOp(op=op) if type(op) in _UNARY:
            return
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            wanted = _FUNCTIONS[name][1]
            if args and wanted in (None, len(args)):
                return
        case ast.operator() | ast.unaryop() | ast.expr_context():
            return
    shown = getattr(node, "id", None) or type(node).__name__
    raise ValueError(
        f"calculate_output: {shown} is not known; there are numbers, the graders' names, + - * / ^ "
        f"and {', '.join(_FUNCTIONS)}"
    )


def _value(node: Any, scores: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.Name(id=name):
            return scores[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, scores), _value(right, scores))
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](_value(operand, scores))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name][0](*(_value(each, scores) for each in args))
    raise ValueError("no formula")
