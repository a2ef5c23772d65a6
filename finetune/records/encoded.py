"""What a row is as tokens: its sequences, which of their tokens are trained, and what was cut."""

from dataclasses import dataclass, replace

from faults import UserFault


@dataclass(frozen=True, slots=True)
class Sequence:
    """`trained[i]`: token i is a label, predicted from the tokens before it.

    Both lists have the same length; `trained[0]` is always False, as nothing precedes it.
    """

    input_ids: list[int]
    trained: list[bool]


@dataclass(frozen=True, slots=True)
class Remark:
    """What became of a message's field that its writer may not have meant; `code` as in a check."""

    code: str
    message: int
    field: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row as tokens: one sequence, or one for each answer where they cannot share one.

    `asked`: for a template that can think, whether the prompt of each answer asks for it.
    """

    sequences: tuple[Sequence, ...]
    remarks: tuple[Remark, ...] = ()
    asked: tuple[bool, ...] = ()

    @property
    def input_ids(self) -> list[int]:
        """Of all sequences, end to end."""
        return [token for each in self.sequences for token in each.input_ids]

    @property
    def trained(self) -> list[bool]:
        """Of all sequences, end to end."""
        return [label for each in self.sequences for label in each.trained]

    @property
    def trained_count(self) -> int:
        return sum(map(sum, (each.trained for each in self.sequences)))

    @property
    def length(self) -> int:
        """Tokens of all sequences."""
        return sum(len(each.input_ids) for each in self.sequences)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return max(len(each.input_ids) for each in self.sequences)


def trained_behind_its_first(ids: list[int]) -> Encoded:
    return Encoded((Sequence(ids, [False] + [True] * (len(ids) - 1)),))


def cut(encoded: Encoded, to: int | None) -> Encoded:
    """The first `to` tokens of each sequence; one that has no label left is left out. Raises
    UserFault `nothing_trained` if none has."""
    if to is None or encoded.longest <= to:
        return encoded
    shorter = (Sequence(each.input_ids[:to], each.trained[:to]) for each in encoded.sequences)
    left = tuple(each for each in shorter if any(each.trained))
    return checked(replace(encoded, sequences=left))


def checked(encoded: Encoded) -> Encoded:
    """No first token is trained, as nothing precedes it. Raises UserFault `nothing_trained`."""
    for each in encoded.sequences:
        each.trained[0] = False
    if not encoded.sequences or not all(any(each.trained) for each in encoded.sequences):
        raise UserFault(
            "nothing_trained",
            "No token of this row would be trained.",
            fix="Give the row an assistant message that is not empty and has no weight 0, or "
            "raise max_length if the answer was cut off.",
        )
    return encoded
