"""Types of command line options.

Interface: `Whole`, the annotation of an option that is a whole number.
"""

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter, Token

from kernelsim.errors import ConfigError


def whole_number(_kind: object, tokens: Sequence[Token]) -> int:
    """Read a whole number; nothing is rounded.

    Raises:
        ConfigError: It is none.
    """
    token = tokens[0]
    try:
        return int(token.value)
    except ValueError:
        raise ConfigError(token.keyword or "", token.value, "must be a whole number") from None


Whole = Annotated[int, Parameter(converter=whole_number)]
