"""The types of pydantic through `openai.chat.completions.parse`: each schema is taken, and what the
model writes under it can be read.

The model means nothing by its words. So the ends of texts, lists and objects are made likely, by
their text, and an answer is as short as its type allows.
"""

import datetime
import decimal
import enum
import ipaddress
import pathlib
import uuid
from typing import Annotated, Any, Literal, NamedTuple, Union

import pytest
from openai import OpenAI
from pydantic import (
    UUID4,
    AnyUrl,
    Base64Bytes,
    BaseModel,
    ByteSize,
    Field,
    IPvAnyAddress,
    SecretStr,
    conint,
    conlist,
    conset,
    constr,
    create_model,
)

HELLO = [{"role": "user", "content": "hello"}]
# The end of a text is the likeliest: the others may stand inside one.
ENDS = [['"', 100], ["}", 70], ["]", 70]]
# A number is likelier than a text, and its end than another digit.
NUMBERS = [["7", 50], ["}", 100]]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Point(BaseModel):
    x: int = Field(description="from the left", examples=[3], deprecated=True)
    y: int = Field(title="Y", json_schema_extra={"readOnly": True})


class Pair(NamedTuple):
    first: int
    second: bool


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    good: bool


class Tree(BaseModel):
    leaf: bool
    below: list["Tree"] = Field(max_length=1)


TYPES: list[Any] = [
    str,
    int,
    bool,
    float,
    None,
    datetime.datetime,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    uuid.UUID,
    UUID4,
    Colour,
    Size,
    Literal["a", "b", 3],
    int | None,
    int | bool,
    Union[Point, Colour],  # noqa: UP007 - people write both
    Annotated[Cat | Dog, Field(discriminator="kind")],
    list[Annotated[Cat | Dog, Field(discriminator="kind")]],
    list[int],
    list[Point],
    set[str],
    set[int],
    frozenset[Colour],
    conset(str, min_length=3, max_length=5),
    tuple[int, bool],
    tuple[int, ...],
    Pair,
    dict[str, int],
    dict[Colour, int],
    dict[uuid.UUID, bool],
    Point,
    Tree,
    constr(min_length=2, max_length=4),
    constr(pattern=r"^[a-c]{2}$"),
    conint(gt=3, lt=9),
    conlist(bool, min_length=1, max_length=2),
    Annotated[float, Field(ge=0, le=1)],
    Annotated[int, Field(multiple_of=5)],
    AnyUrl,
    bytes,
    Base64Bytes,
    SecretStr,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Interface,
    IPvAnyAddress,
    pathlib.Path,
    Any,
]


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_an_answer_of_the_type_is_parsed(client: OpenAI, kind: Any) -> None:
    assert_parsed(client, kind, ENDS)


@pytest.mark.parametrize(
    "kind",
    [
        decimal.Decimal,
        Annotated[decimal.Decimal, Field(max_digits=6, decimal_places=2)],
        ByteSize,
        Annotated[float, Field(gt=0, lt=100)],
    ],
    ids=str,
)
def test_a_number_that_may_be_a_text_is_parsed(client: OpenAI, kind: Any) -> None:
    assert_parsed(client, kind, NUMBERS)


def assert_parsed(client: OpenAI, kind: Any, likely: list[list[Any]]) -> None:
    answered = create_model("Answered", value=(kind, ...))

    answer = client.chat.completions.parse(
        model="nano",
        messages=HELLO,  # type: ignore[arg-type]
        max_tokens=300,
        temperature=0,
        extra_body={"logit_bias": likely},
        response_format=answered,
    )

    assert answer.choices[0].finish_reason == "stop"
    assert isinstance(answer.choices[0].message.parsed, answered)
