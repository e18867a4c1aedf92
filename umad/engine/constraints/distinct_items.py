"""Keeps the items of an array apart where a JSON schema has `uniqueItems`. No grammar can say that.

It reads the answer byte by byte, knows which part of the schema each value belongs to, and bars the
tokens that would complete an item for the second time, in whatever spelling, or leave nothing else
to write. It looks one token ahead. Where nothing else may be written, an item is repeated rather
than the answer ended.
Not: anything else of a schema, which the grammar keeps to.
Owner: one answer; one thread at a time.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umad.sampling.allowed import Allowed

UNIQUE = "uniqueItems"
_SPACES = b" \t\r\n"
_MOST_STEPS = 64
# With more allowed tokens than this an item's end is far, and only its ends are looked at.
_MOST_CANDIDATES = 4096
# So many times a step looks one token ahead, which costs a mask each.
_MOST_AHEAD = 32


def has_distinct_items(schema: Any) -> bool:
    """Whether an array of the schema has to have distinct items."""
    return any(one.get(UNIQUE) is True for one in _parts(schema))


def without_distinct_items(schema: Any) -> Any:
    """The schema for the compiler, which cannot say it. An array of a few constants gets as many
    places as there are constants.
    """
    if isinstance(schema, list):
        return [without_distinct_items(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    out = {
        key: value if key in ("const", "enum") else without_distinct_items(value)
        for key, value in schema.items()
    }
    if out.get(UNIQUE) is True:
        del out[UNIQUE]
        choices = _choices([schema["items"]]) if isinstance(schema.get("items"), dict) else None
        if choices is not None and isinstance(out.get("maxItems", 0), int):
            out["maxItems"] = min(len(choices), out.get("maxItems", len(choices)))
    return out


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    left = [schema]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield one
            left += [inner for key, inner in one.items() if key not in ("const", "enum")]
        elif isinstance(one, list):
            left += one


def _choices(schemas: Sequence[Any]) -> frozenset[bytes] | None:
    """The texts of the only values there are; None where there are many."""
    found: set[bytes] = set()
    for one in schemas:
        if "enum" in one:
            values = one["enum"]
        elif "const" in one:
            values = [one["const"]]
        elif one.get("type") == "boolean":
            values = [True, False]
        else:
            return None
        texts = [json.dumps(value, separators=(",", ":"), ensure_ascii=False) for value in values]
        found |= {text.encode() for text in texts}
    return frozenset(found) or None


class PieceTable:
    """The bytes of every token of a vocabulary, and which tokens may end a value."""

    def __init__(self, n_vocab: int, piece_of: Callable[[int], bytes]) -> None:
        self.pieces = [piece_of(token) for token in range(n_vocab)]
        self.tokens: dict[bytes, list[int]] = {}
        for token, piece in enumerate(self.pieces):
            self.tokens.setdefault(piece, []).append(token)
        # In a text only a quote ends it. Elsewhere every mark of JSON may.
        self.quotes = self._with(b'"')
        self.ends = self._with(b'",]}' + _SPACES)

    def _with(self, marks: bytes) -> NDArray[np.intp]:
        wanted = set(marks)
        found = [at for at, piece in enumerate(self.pieces) if not wanted.isdisjoint(piece)]
        return np.array(found, np.intp)


@dataclass(slots=True, kw_only=True)
class _Open:
    """A container that is not closed yet."""

    # The parts of the schema that may describe it.
    schemas: tuple[Any, ...]
    is_array: bool
    is_distinct: bool = False
    choices: frozenset[bytes] | None = None
    # Of an array: None before an item. Then the item so far, if items have to be distinct.
    item: bytes | None = None
    n_items: int = 0
    # Of an array with distinct items: those that are complete, as written and in one spelling.
    seen: frozenset[bytes] = frozenset()
    # Of an object: the name of the property whose value comes next.
    key: str | None = None


@dataclass(slots=True, kw_only=True)
class _Place:
    """How far the answer has come."""

    stack: list[_Open] = field(default_factory=list)
    in_text: bool = False
    escaped: bool = False
    # The bytes of a key so far.
    text: bytes = b""
    # In a number, true, false or null.
    in_word: bool = False
    # An item was completed for the second time.
    is_repeated: bool = False

    def copied(self) -> "_Place":
        return replace(self, stack=[replace(one) for one in self.stack])


class DistinctItems:
    """Bars what would repeat an item of the answer's arrays."""

    def __init__(self, schema: Any, table: PieceTable) -> None:
        self._root = schema
        self._table = table
        self._place = _Place()

    def push(self, token: int) -> None:
        """Read past a token that was drawn."""
        self._read(self._place, self._table.pieces[token])

    def narrowed(self, allowed: Allowed, after: Callable[[int], Allowed]) -> Allowed:
        """The allowed tokens without those that would repeat an item. `after`: what the grammar
        allows after one more token.
        """
        if not any(one.is_distinct for one in self._place.stack):
            return allowed
        barred = {token for token in self._candidates(allowed) if self._repeats(token)}
        barred |= {
            token
            for token in self._all_but_ends(allowed)
            if token not in barred and self._has_no_way_on(token, after(token))
        }
        return allowed.without(np.array(sorted(barred), np.intp)) if barred else allowed

    def _all_but_ends(self, allowed: Allowed) -> list[int]:
        """The tokens that would make an item one that is there already, but for its end."""
        found: set[int] = set()
        for one in self._place.stack:
            if not one.is_distinct or one.item is None:
                continue
            for item in one.seen:
                rest = item.removesuffix(b'"')[len(one.item) :] if item != one.item else b""
                if rest and item.startswith(one.item):
                    found.update(self._table.tokens.get(rest, ()))
        return [token for token in sorted(found)[:_MOST_AHEAD] if token in allowed]

    def _has_no_way_on(self, token: int, after: Allowed) -> bool:
        """Whether after the token only an item's end may follow, which would repeat the item."""
        if after.few is None:
            return False
        place = self._place.copied()
        self._read(place, self._table.pieces[token])
        return all(self._repeats(int(one), place) for one in after.few)

    def _candidates(self, allowed: Allowed) -> list[int]:
        if allowed.few is not None and allowed.few.size <= _MOST_CANDIDATES:
            return list(map(int, allowed.few))
        ends = self._table.quotes if self._place.in_text else self._table.ends
        return list(map(int, ends[allowed.among(ends)]))

    def _repeats(self, token: int, place: _Place | None = None) -> bool:
        place = (place or self._place).copied()
        place.is_repeated = False
        self._read(place, self._table.pieces[token])
        return place.is_repeated or any(_is_stuck(one) for one in place.stack)

    # -- reading -------------------------------------------------------------------------------

    def _read(self, place: _Place, piece: bytes) -> None:
        for byte in piece:
            self._read_byte(place, bytes((byte,)))

    def _read_byte(self, place: _Place, c: bytes) -> None:
        if place.in_text:
            self._in_text(place, c)
            return
        if place.in_word and (c in b",]}" or c in _SPACES):
            place.in_word = False
            self._value_ended(place)
        if c in _SPACES:
            return
        top = place.stack[-1] if place.stack else None
        if c == b",":
            _append(place, c)
            if top is not None and top.is_array:
                top.item = b""
        elif c in b"]}":
            if place.stack:
                place.stack.pop()
            _append(place, c)
            self._value_ended(place)
        elif c != b":":
            self._value_begins(place, c)
        else:
            _append(place, c)

    def _value_begins(self, place: _Place, c: bytes) -> None:
        is_key = bool(place.stack) and not place.stack[-1].is_array and place.stack[-1].key is None
        if not place.in_word:
            _begin_item(place)
        _append(place, c)
        if c == b'"':
            place.in_text, place.text = True, b'"'
        elif c in b"{[":
            schemas = self._schemas_here(place)
            place.stack.append(self._opened(schemas, is_array=c == b"["))
        elif not is_key:
            place.in_word = True

    def _opened(self, schemas: tuple[Any, ...], *, is_array: bool) -> _Open:
        one = _Open(schemas=schemas, is_array=is_array)
        if is_array and any(schema.get(UNIQUE) is True for schema in schemas):
            one.is_distinct = True
            one.choices = _choices(self._below(schemas, "items")) if schemas else None
        return one

    def _in_text(self, place: _Place, c: bytes) -> None:
        _append(place, c)
        top = place.stack[-1] if place.stack else None
        is_key = top is not None and not top.is_array and top.key is None
        if is_key:
            place.text += c
        if place.escaped:
            place.escaped = False
        elif c == b"\\":
            place.escaped = True
        elif c == b'"':
            place.in_text = False
            if top is not None and is_key:
                top.key = _name(place.text)
            else:
                self._value_ended(place)

    def _value_ended(self, place: _Place) -> None:
        if not place.stack:
            return
        top = place.stack[-1]
        top.key = None
        if not top.is_array or top.item is None:
            return
        if top.is_distinct:
            value = _plain_text(top.item)
            place.is_repeated = place.is_repeated or value in top.seen
            top.seen |= {top.item, value}
        top.item = None
        top.n_items += 1

    # -- the schema ----------------------------------------------------------------------------

    def _schemas_here(self, place: _Place) -> tuple[Any, ...]:
        """The parts of the schema that may describe the value that begins."""
        if not place.stack:
            return self._meant([self._root])
        top = place.stack[-1]
        if top.is_array:
            return self._items(top.schemas, top.n_items)
        return self._property(top.schemas, top.key or "")

    def _items(self, schemas: Sequence[Any], at: int) -> tuple[Any, ...]:
        found: list[Any] = []
        for one in schemas:
            items = one.get("items")
            first = items if isinstance(items, list) else one.get("prefixItems", ())
            rest = one.get("additionalItems") if isinstance(items, list) else items
            found.append(first[at] if at < len(first) else rest)
        return self._meant(found)

    def _property(self, schemas: Sequence[Any], name: str) -> tuple[Any, ...]:
        found: list[Any] = []
        for one in schemas:
            properties = one.get("properties", {})
            if name in properties:
                found.append(properties[name])
            else:
                found += one.get("patternProperties", {}).values()
                found.append(one.get("additionalProperties"))
        return self._meant(found)

    def _below(self, schemas: Sequence[Any], key: str) -> tuple[Any, ...]:
        return self._meant([one.get(key) for one in schemas])

    def _meant(self, schemas: Sequence[Any]) -> tuple[Any, ...]:
        """Schemas with what they refer to and combine."""
        found: list[Any] = []
        left = [one for one in schemas if isinstance(one, dict)]
        seen: set[int] = set()
        while left and len(seen) < _MOST_STEPS:
            one = left.pop()
            if id(one) in seen:
                continue
            seen.add(id(one))
            others = [one[key] for key in ("allOf", "anyOf", "oneOf") if key in one]
            inner = [part for parts in others for part in parts if isinstance(part, dict)]
            target = _referred(self._root, one.get("$ref"))
            left += [*inner, *([target] if isinstance(target, dict) else [])]
            if one.keys() - {"$ref", "allOf", "anyOf", "oneOf"}:
                found.append(one)
        return tuple(found)


def _is_stuck(one: _Open) -> bool:
    """Whether an item has begun that can only become one that is there already."""
    if one.choices is None or one.item is None:
        return False
    return not any(choice.startswith(one.item) for choice in one.choices - one.seen)


def _begin_item(place: _Place) -> None:
    top = place.stack[-1] if place.stack else None
    if top is not None and top.is_array and top.item is None:
        top.item = b""


def _append(place: _Place, c: bytes) -> None:
    for one in place.stack:
        if one.is_distinct and one.item is not None:
            one.item += c


def _plain_text(item: bytes) -> bytes:
    """One spelling for every spelling of a value: escapes, the order of keys, 1 and 1.0."""
    try:
        value = json.loads(item, parse_float=_number)
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return item


def _number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() else value


def _name(text: bytes) -> str:
    try:
        return str(json.loads(text))
    except ValueError:
        return ""


def _referred(root: Any, reference: Any) -> Any:
    if reference == "#":
        return root
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    found = root
    for step in reference[2:].split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found
