"""Numbers that models write and JSON cannot say."""

import math
import sys
from typing import Any


def finite(value: Any) -> Any:
    """Python reads 1e999 as an infinity, which JSON cannot say: the largest number stands for it.
    Raises ValueError for NaN, which is no JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            raise ValueError("NaN is no JSON")
        return math.copysign(sys.float_info.max, value)
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    return [finite(each) for each in value] if isinstance(value, list) else value
