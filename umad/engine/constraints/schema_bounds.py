"""Finds numbers in a JSON schema that are short to write and very dear to compile. Pure.

For `multipleOf` llguidance builds an automaton with as many states as the number has units, or with
the least common multiple where several numbers hold for one value: 40 characters took 18 s and
150 MB (300,007), and ten times that number took thirty times as much.
"""

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

# So many cost a second, and some megabytes.
MOST_UNITS = 100_000
# A number with more decimal places is finer than the numbers that JSON texts hold.
_MOST_PLACES = 30
_IN_LARK = re.compile(r"%json\s*")
_DECODER = json.JSONDecoder(parse_float=Decimal)


def flaw_of_schemas(lark: str) -> str:
    """Apply `flaw_of_multiples` to every schema in a grammar (`%json {…}`)."""
    found = []
    for mark in _IN_LARK.finditer(lark):
        try:
            found.append(_DECODER.raw_decode(lark, mark.end())[0])
        except (ValueError, ArithmeticError, RecursionError):
            continue
    return _flaw(found, lark)


def flaw_of_multiples(schema: str) -> str:
    """Say why the numbers in `multipleOf` are too much for a compiler; "" where they are not. A
    text that is no JSON also gives "": other checks refuse it.
    """
    try:
        return _flaw(_DECODER.decode(schema), schema)
    except (ValueError, ArithmeticError, RecursionError):
        return ""


def _flaw(parsed: Any, schema: str) -> str:
    numbers = {abs(number) for number in _multiples(parsed) if number}
    if not numbers:
        return ""
    places = max([max(0, -int(number.as_tuple().exponent)) for number in numbers])
    if places > _MOST_PLACES or max(numbers) > MOST_UNITS:
        return _said(max(numbers))
    alone = sum([_units(number, 0) for number in numbers])
    # Parts of a schema are combined where one refers to another, or several have to hold.
    may_meet = any(word in schema for word in ("allOf", "anyOf", "oneOf", "$ref"))
    together = math.lcm(*[_units(number, places) for number in numbers]) if may_meet else 0
    if alone > MOST_UNITS or together > MOST_UNITS:
        return f"the numbers of multipleOf have more than {MOST_UNITS} units together"
    return ""


def _said(number: Decimal) -> str:
    return f"multipleOf {number:.6g} has more than {MOST_UNITS} units"


def _units(number: Decimal, places: int) -> int:
    """Count a number in units of so many decimal places, or of its own places where it has more."""
    own = max(places, -int(number.as_tuple().exponent))
    return int(number.scaleb(own))


def _multiples(schema: Any) -> Iterator[Decimal]:
    """Every finite number behind `multipleOf`, wherever it stands."""
    left = [schema]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            found = one.get("multipleOf")
            if isinstance(found, int | Decimal) and not isinstance(found, bool):
                number = Decimal(found)
                if number.is_finite():
                    yield number
            left += one.values()
        elif isinstance(one, list):
            left += one
