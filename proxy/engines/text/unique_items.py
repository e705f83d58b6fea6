"""`uniqueItems` of JSON schemas, which llguidance does not know: what would repeat an item is told as JSON is written.

An array's items must differ where any schema that may be its own says so. They are strings, numbers, true, false and
null: an array or an object could turn out to be a repetition when only its end is left to write. Knows no models.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

_NAMED = ("properties", "patternProperties", "$defs", "definitions")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_CHOICES = ("anyOf", "oneOf", "allOf")
_SIMPLE = frozenset(("string", "integer", "number", "boolean", "null"))
_MOST_INTEGERS = 1000  # of a range whose numbers are listed
_BLANKS, _ENDS = b" \n\r\t", b" \n\r\t,]}"

Schema = Mapping[str, Any]


def without_unique_items(schema: Any) -> Any:
    """The schema, but for what it says of items that must differ."""
    if not isinstance(schema, Mapping):
        return schema
    plain: dict[str, Any] = {}
    for name, value in schema.items():
        if name in _NAMED and isinstance(value, Mapping):
            plain[name] = {key: without_unique_items(inner) for key, inner in value.items()}
        elif name in _LISTED and isinstance(value, list):
            plain[name] = [without_unique_items(inner) for inner in value]
        elif name in ("items", "additionalProperties"):
            plain[name] = without_unique_items(value)
        elif name != "uniqueItems" or not isinstance(value, bool):
            plain[name] = value
    return plain


@dataclass(frozen=True)
class _Frame:
    """An array or an object that is open, `schemas` being those that may be its own. `start`: where its last value
    begins. `left`: the texts of what may still be an item, where that can be listed."""

    schemas: Sequence[Schema]
    array: bool
    unique: bool = False
    left: frozenset[str] | None = None
    seen: frozenset[str] = frozenset()
    written: tuple[bytes, ...] = ()  # the items, as they were
    index: int = 0
    key: str | None = None  # None where one is to come
    start: int = 0


class UniqueItems:
    """JSON as it is written, by a schema as its text has it. `inside`: it is in an array whose items must differ."""

    def __init__(self, schema: Any) -> None:
        self._root = schema
        self._text = b""
        self._frames: list[_Frame] = []
        self._string = -1  # where it begins
        self._scalar = -1
        self._escaped = self._repeated = False

    @property
    def inside(self) -> bool:
        return any(frame.unique for frame in self._frames)

    @property
    def in_free_text(self) -> bool:
        """Whether it is in a string that only a quotation mark can make a repetition."""
        return self._string >= 0 and all(frame.left is None for frame in self._frames)

    def take(self, text: bytes) -> None:
        """The JSON goes on."""
        begun = len(self._text)
        self._text += text
        for at in range(begun, len(self._text)):
            self._read(self._text[at], at)

    def forbids(self, text: bytes) -> bool:
        """Whether an item were repeated, or could only be, if the JSON went on so."""
        trial = self.copy()
        trial.take(text)
        return trial._repeated or trial._bound_to_repeat()

    def almost(self) -> set[bytes]:
        """What would go on to an item that is there, but for its end."""
        top = self._frames[-1] if self._frames else None
        if top is None or not top.unique:
            return set()
        begun = self._text[top.start :] if self._string >= 0 or self._scalar >= 0 else b""
        items = {each.removesuffix(b'"') for each in top.written}
        return {each[len(begun) :] for each in items if each.startswith(begun)} - {b""}

    def enforceable(self) -> bool:
        """Whether all items that must differ are simple."""
        for schema in _objects(self._root):
            if schema.get("uniqueItems") is not True:
                continue
            items = list(_items(schema))
            if not all(isinstance(inner, Mapping) for inner in items):
                return False
            if not all(_is_simple(leaf) for leaf in self._leaves(items)):
                return False
        return True

    def copy(self) -> "UniqueItems":
        other = object.__new__(UniqueItems)
        other.__dict__ = {**self.__dict__, "_frames": list(self._frames)}
        return other

    def _read(self, byte: int, at: int) -> None:
        letter = chr(byte)
        if self._string >= 0:
            ends = letter == '"' and not self._escaped
            self._escaped = letter == "\\" and not self._escaped
            if ends:
                self._end_string(at + 1)
            return
        if self._scalar >= 0 and byte in _ENDS:
            self._scalar = -1
            self._end_value(at)
        if byte in _BLANKS:
            return
        match letter:
            case "]" | "}":
                self._frames.pop()
                self._end_value(at + 1)
            case ",":
                self._next()
            case ":":
                pass
            case '"':
                self._string = at
                self._begin_value(at)
            case "[" | "{":
                self._begin_value(at)
                self._frames.append(self._opened(letter == "["))
            case _:
                if self._scalar < 0:
                    self._scalar = at
                    self._begin_value(at)

    def _begin_value(self, at: int) -> None:
        if self._frames:
            self._frames[-1] = replace(self._frames[-1], start=at)

    def _end_string(self, end: int) -> None:
        begun, self._string = self._string, -1
        top = self._frames[-1] if self._frames else None
        if top is not None and not top.array and top.key is None:
            self._frames[-1] = replace(top, key=json.loads(self._text[begun:end]))
        else:
            self._end_value(end)

    def _end_value(self, end: int) -> None:
        top = self._frames[-1] if self._frames else None
        if top is None or not top.unique:
            return
        value = _same(json.loads(self._text[top.start : end]))
        self._repeated = self._repeated or value in top.seen
        left = None if top.left is None else top.left - {value}
        written = (*top.written, self._text[top.start : end])
        self._frames[-1] = replace(top, seen=top.seen | {value}, written=written, left=left)

    def _next(self) -> None:
        top = self._frames[-1]
        self._repeated = self._repeated or (top.left is not None and not top.left)
        self._frames[-1] = replace(top, index=top.index + 1, key=None)

    def _bound_to_repeat(self) -> bool:
        """Whether the item that has begun can only become one that is there."""
        top = self._frames[-1] if self._frames else None
        if top is None or top.left is None or (self._string < 0 and self._scalar < 0):
            return False
        begun = self._text[top.start :]
        return not any(each.encode().startswith(begun) for each in top.left)

    def _opened(self, array: bool) -> _Frame:
        parents = self._frames[-1] if self._frames else None
        given = [self._root] if parents is None else list(_of_value(parents))
        schemas = list(self._leaves(given))
        if not array or not any(schema.get("uniqueItems") is True for schema in schemas):
            return _Frame(schemas, array)
        items = [inner for schema in schemas for inner in _items(schema)]
        return _Frame(schemas, True, True, _listed(list(self._leaves(items))))

    def _leaves(self, schemas: Sequence[Any]) -> Iterator[Schema]:
        """The schemas that these come to, without references and choices."""
        waiting, known = list(schemas), set[int]()
        while waiting:
            schema = waiting.pop()
            if not isinstance(schema, Mapping) or id(schema) in known:
                continue
            known.add(id(schema))
            inner = [each for name in _CHOICES for each in _list(schema.get(name)) if isinstance(each, Mapping)]
            if isinstance(reference := schema.get("$ref"), str):
                inner.append(self._referred(reference))
            waiting += inner
            if not inner or {"type", "enum", "const", "properties", "items", "uniqueItems"} & schema.keys():
                yield schema

    def _referred(self, reference: str) -> Any:
        part = self._root
        for name in reference.removeprefix("#").split("/")[1:]:
            name = name.replace("~1", "/").replace("~0", "~")
            part = part.get(name) if isinstance(part, Mapping) else None
        return part


def _objects(value: Any) -> Iterator[Schema]:
    """Every object in a JSON value."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _is_simple(schema: Schema) -> bool:
    if "enum" in schema or "const" in schema:
        values = _list(schema["enum"]) if "enum" in schema else [schema["const"]]
        return not any(isinstance(value, list | dict) for value in values)
    kinds = schema.get("type")
    given = [kinds] if isinstance(kinds, str) else _list(kinds)
    return bool(given) and all(kind in _SIMPLE for kind in map(str, given))


def _list(value: Any) -> list[Any]:
    """The list; an empty one where a schema that is not valid has something else."""
    return value if isinstance(value, list) else []


def _names(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _of_value(parent: _Frame) -> Iterator[Any]:
    """The schemas that the next value in an array or an object may have."""
    for schema in parent.schemas:
        if parent.array:
            yield from _items(schema, parent.index)
            continue
        named = _names(schema.get("properties"))
        if parent.key is not None and parent.key in named:
            yield named[parent.key]
        yield from _names(schema.get("patternProperties")).values()
        yield schema.get("additionalProperties")


def _items(schema: Schema, index: int | None = None) -> Iterator[Any]:
    """The schemas of its items, or of the one at a place."""
    first = _list(schema.get("prefixItems"))
    yield from first if index is None else first[index : index + 1]
    if index is None or index >= len(first):
        yield schema.get("items", True)


def _listed(schemas: Sequence[Schema]) -> frozenset[str] | None:
    """The texts of all values that follow any of the schemas; None where there are too many, or of other kinds."""
    if not schemas:
        return None
    values: list[Any] = []
    for schema in schemas:
        least, most = schema.get("minimum"), schema.get("maximum")
        if "enum" in schema:
            values += _list(schema["enum"])
        elif "const" in schema:
            values.append(schema["const"])
        elif schema.get("type") in ("boolean", "null"):
            values += [True, False] if schema["type"] == "boolean" else [None]
        elif schema.get("type") == "integer" and isinstance(least, int) and isinstance(most, int):
            if most - least >= _MOST_INTEGERS:
                return None
            values += range(least, most + 1)
        else:
            return None
    if not all(value is None or isinstance(value, str | int) for value in values):
        return None
    return frozenset(_same(value) for value in values)


def _same(value: Any) -> str:
    """Equal texts for equal values, and the text that a string, a whole number, true, false or null is written as."""
    return json.dumps(_whole(value), ensure_ascii=False, sort_keys=True)


def _whole(value: Any) -> Any:
    """Whole numbers without a decimal point: 1.0 is 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return {name: _whole(each) for name, each in value.items()} if isinstance(value, dict) else value
