"""Request bodies: strict JSON into a struct, and errors that name the field and say what is possible.

Litestar would convert "1" to 1 and true to 1.0 on its own; here a wrong type is an error.
"""

import gc
import json
import math
import re
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import msgspec
from litestar._openapi.schema_generation import SchemaCreator
from litestar.connection import ASGIConnection
from litestar.dto import AbstractDTO
from litestar.dto.data_structures import DTOFieldDefinition
from litestar.handlers.base import BaseRouteHandler
from litestar.handlers.http_handlers.base import HTTPRouteHandler
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition
from msgspec import inspect

from proxy.chat.misspelt import meant
from proxy.chat.unsupported import UNSUPPORTED, Field, refuse_unsupported
from proxy.errors import InvalidRequest, UnsupportedMediaType

T = TypeVar("T")

# How msgspec ends a message: " - at `$.messages[0]`", or " - at `key` in `$.logit_bias`". What it quotes of the body
# comes before, and may look alike.
_PLACE = re.compile(r"(.*) - at (`key` in )?`\$(.*)", re.DOTALL)
# What msgspec calls the values of JSON.
_FOUND = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}
# What a page can send anywhere without asking first; a form's is also what curl says of itself.
_SIMPLE_TYPES = ("text/plain", "multipart/form-data")
MAX_SEARCHED = 100_000  # bytes of a body that is searched for its fault; a longer one takes too long
_FORM_TYPE = "application/x-www-form-urlencoded"


def decode(body: bytes, type_: type[T]) -> T:
    """The struct in a JSON body. InvalidRequest for anything else; `param` is the path of the field at fault."""
    try:
        with _without_collections(body):
            return msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as error:
        raise _wrong_field(str(error), type_) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(body, error, type_) from None


@contextmanager
def _without_collections(body: bytes) -> Iterator[None]:
    """A million small values would have Python look through all it holds many times, seconds in which nobody is
    answered; what a decoder makes has no circles."""
    if len(body) <= MAX_SEARCHED or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _wrong_field(message: str, type_: type) -> InvalidRequest:
    what, in_key, path = found.groups() if (found := _PLACE.fullmatch(message)) else (message, None, "")
    if in_key:
        what += " as a key"
    path = path.rstrip("`").removeprefix(".").replace("[...]", "")
    if missing := re.search(r"missing required field `(\w+)`", what):
        path = f"{path}.{missing[1]}".removeprefix(".")
        what = "it is required"
    if unknown := re.search(r"unknown field `(.+)`", what):
        possible = ", ".join(_field_names(inspect.type_info(type_), path))
        path = f"{path}.{unknown[1]}".removeprefix(".")
        return InvalidRequest(f"{path}: there is no such field; possible: {possible}", param=path)
    possible = _possible(inspect.type_info(type_), path)
    what = (_plain(what) if possible else None) or what[:1].lower() + what[1:].replace("`", "")
    hint = f"; possible: {possible}" if possible else ""
    return InvalidRequest(f"{path or 'the body'}: {what}{hint}", param=path or None)


def _plain(what: str) -> str | None:
    """What msgspec found, in words that say what stands there; what is possible is said behind it."""
    if found := re.fullmatch(r"Expected `.+`, got `(\w+)`", what):
        return f"it is {_FOUND.get(found[1], found[1])}"
    if found := re.fullmatch(r"Invalid enum value (.+)", what, re.DOTALL):
        return f"it is {found[1]}"
    if re.fullmatch(r"Expected `\w+` of length >= 1", what):
        return "it is empty"
    return "it is out of range" if re.fullmatch(r"Expected `(int|float)` [<>]=? \S+", what) else None


def _not_json(body: bytes, error: Exception, type_: type) -> InvalidRequest:
    # Python clients write NaN and Infinity, which JSON does not have: say which field holds it. In a long body the
    # search would hold up everybody's requests.
    try:
        path = next(_not_finite(json.loads(body), ""), "") if len(body) <= MAX_SEARCHED else ""
    except (ValueError, RecursionError):
        path = ""
    if path:
        return _wrong_field(f"not a number: JSON has no NaN and no Infinity - at `$.{path}`", type_)
    return InvalidRequest(f"The body is not valid JSON: {error}", code="invalid_json")


def _not_finite(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _not_finite(item, f"{path}.{key}".removeprefix("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_finite(item, f"{path}[{index}]")


def _possible(info: inspect.Type, path: str) -> str:
    """What may stand at a path of this type, in words; "" where there is nothing to say."""
    return " or ".join(_words(_at(info, path)))


def _field_names(info: inspect.Type, path: str) -> list[str]:
    """Of the struct at a path of this type, or of several where it may be one or the other."""
    found = _at(info, path)
    members = found.types if isinstance(found, inspect.UnionType) else (found,)
    structs = (member for member in members if isinstance(member, inspect.StructType))
    return [field.encode_name for struct in structs for field in struct.fields]


def _at(info: inspect.Type, path: str) -> inspect.Type:
    for name in re.findall(r"\w+", path):
        members = info.types if isinstance(info, inspect.UnionType) else (info,)
        inner = (child for member in members if (child := _child(member, name)) is not None)
        info = next(inner, inspect.AnyType())
    return info


def _child(info: inspect.Type, name: str) -> inspect.Type | None:
    if isinstance(info, inspect.StructType):
        return next((field.type for field in info.fields if field.encode_name == name), None)
    if isinstance(info, inspect.ListType):
        return info.item_type if name.isdigit() else None
    return info.value_type if isinstance(info, inspect.DictType) else None


def _words(info: inspect.Type) -> list[str]:
    match info:
        case inspect.UnionType():
            return [word for member in info.types for word in _words(member)]
        case inspect.LiteralType():
            return [f'"{value}"' for value in info.values]
        case inspect.FloatType() | inspect.IntType():
            kind = "a number" if isinstance(info, inspect.FloatType) else "a whole number"
            return [kind + _bounds(info)]
        case inspect.StrType():
            return ["text"]
        case inspect.BoolType():
            return ["true", "false"]
        case inspect.ListType():
            inner = " or ".join(_words(info.item_type))
            return [f"a list of {inner}" if inner else "a list"]
        case inspect.DictType():
            inner = " or ".join(_words(info.value_type))
            return [f"an object whose values are {inner}" if inner else "an object"]
        case inspect.StructType():
            required = ", ".join(field.encode_name for field in info.fields if field.required)
            return [f"an object with {required}" if required else "an object"]
        case _:
            return []


def _bounds(info: inspect.FloatType | inspect.IntType) -> str:
    # Whole, since rounded bounds of seeds would be wrong: 4294967295, not 4.29497e+09.
    ge, le, gt = (str(bound).removesuffix(".0") for bound in (info.ge, info.le, info.gt))
    if info.ge is not None and info.le is not None:
        return f" from {ge} to {le}"
    if info.gt is not None:
        return f" above {gt}" + (f", up to {le}" if info.le is not None else "")
    return f" of at least {ge}" if info.ge is not None else ""


def json_guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """UnsupportedMediaType for a body that should be JSON and says it is something else."""
    wanted = handler.resolve_data_dto() if isinstance(handler, HTTPRouteHandler) else None
    if wanted is None or not issubclass(wanted, StrictBody):
        return
    given = connection.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given in _SIMPLE_TYPES or (given == _FORM_TYPE and "origin" in connection.headers):
        raise UnsupportedMediaType(f"The body's type is {given}; possible: application/json")


def check_fields(body: bytes, known: Collection[str], unsupported: Mapping[str, Field]) -> None:
    """InvalidRequest for a field that others have and that is not supported, for one that OpenAI has not and that is
    nearly one of ours, and for the SDK's `extra_body`. Others that nobody knows are ignored; so is a body that is no
    object, of which `decode` says more."""
    try:
        given = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    unknown = {name: value for name, value in given.items() if name not in known}
    refuse_unsupported(unknown, unsupported)
    for name in sorted(unknown):
        if name == "extra_body" and bytes(given[name]) not in (b"null", b"{}"):
            raise InvalidRequest(
                "extra_body: that is an option of OpenAI's Python library and never part of a body; put its fields "
                "beside model",
                param=name,
            )
        if (ours := meant(name)) is not None:
            raise InvalidRequest(f"{name}: there is no such field; did you mean {ours}?", param=name)


class StrictBody(AbstractDTO[T]):
    """Hooks `decode` into Litestar's handling of `data`, so that the OpenAPI page still shows the body's struct."""

    def decode_bytes(self, value: bytes) -> Any:
        return decode(value, self.model_type)

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        return False

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Generator[DTOFieldDefinition, None, None]:
        yield from ()

    @classmethod
    def create_for_field_definition(cls, *args: Any, **kwargs: Any) -> None:
        """No transfer model: the struct is the body."""

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: SchemaCreator
    ) -> Reference | Schema:
        return schema_creator.for_field_definition(field_definition)


class OpenAIBody(StrictBody[T]):
    """Of an endpoint of OpenAI's, whose clients may send fields that nobody knows. `unsupported` are refused."""

    unsupported: ClassVar[Mapping[str, Field]] = UNSUPPORTED

    def decode_bytes(self, value: bytes) -> Any:
        # Not msgspec's `fields`, which works out every type anew.
        known: tuple[str, ...] = getattr(self.model_type, "__struct_encode_fields__")  # noqa: B009
        check_fields(value, known, self.unsupported)
        return super().decode_bytes(value)
