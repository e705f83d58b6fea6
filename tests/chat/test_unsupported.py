"""What each endpoint does with each field: honour it, ignore it, or refuse it in words."""

import typing
from typing import Any

import msgspec
import pytest
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params

from proxy.chat.unsupported import ENDPOINTS, IGNORED, refuse_unsupported, uses
from proxy.errors import InvalidRequest

CHATS, RESPONSES, COMPLETIONS = "/v1/chat/completions", "/v1/responses", "/v1/completions"
THEIRS: dict[str, tuple[Any, ...]] = {  # the SDK's own types of requests
    CHATS: (chat_create_params.CompletionCreateParamsNonStreaming, chat_create_params.CompletionCreateParamsStreaming),
    RESPONSES: (
        response_create_params.ResponseCreateParamsNonStreaming,
        response_create_params.ResponseCreateParamsStreaming,
    ),
    COMPLETIONS: (
        completion_create_params.CompletionCreateParamsNonStreaming,
        completion_create_params.CompletionCreateParamsStreaming,
    ),
}


def raw(**fields: Any) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}


@pytest.mark.parametrize("path", THEIRS)
def test_every_field_of_the_sdk_then_in_the_table(path: str) -> None:
    theirs = {name for kind in THEIRS[path] for name in typing.get_type_hints(kind)}
    assert len(theirs) > 15 and theirs - uses(ENDPOINTS[path]).keys() == set()


def test_every_field_of_a_chat_then_a_completion_is_told_of_it_too() -> None:
    known = uses(ENDPOINTS[COMPLETIONS]).keys()
    without_meaning = {"parallel_tool_calls", "add_generation_prompt", "include_schema_in_prompt"}
    assert uses(ENDPOINTS[CHATS]).keys() - known == without_meaning


@pytest.mark.parametrize("path", ENDPOINTS)
def test_refused_field_then_only_its_harmless_values_are_taken(path: str) -> None:
    request, unsupported, ignored = ENDPOINTS[path]
    honoured = {field.encode_name for field in msgspec.structs.fields(request)}
    assert not honoured & unsupported.keys() and not {*IGNORED, *ignored} & unsupported.keys()
    for name, field in unsupported.items():
        for value in (None, *field.harmless):
            refuse_unsupported(raw(**{name: value}), unsupported)
        with pytest.raises(InvalidRequest) as caught:
            refuse_unsupported(raw(**{name: {"some": ["thing"]}}), unsupported)
        assert caught.value.param == name and field.possible in caught.value.message


def test_what_is_possible_instead_then_possible_there() -> None:
    """A completion is not told to use a field of chats as if it had it."""
    for field in ENDPOINTS[COMPLETIONS].unsupported.values():
        assert "response_format" not in field.possible or CHATS in field.possible
