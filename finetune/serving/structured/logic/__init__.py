"""Schemas whose keywords speak of one another (`not`, `if`, `allOf`, ...), written without them.

What a schema allows is told as cases: an answer is one of them. A case has one type, keywords of
this type alone, and at most two of ours: `but`, texts that it is not, and `barred`, why it cannot
be offered, which is told only if the case is left in the end. Of the type `fraction`, ours too, are
numbers that are not whole. Schemas within a case stay as they were given, or `allOf` and `not` of
such, until they are written themselves.
"""

from typing import Any

Case = dict[str, Any]
