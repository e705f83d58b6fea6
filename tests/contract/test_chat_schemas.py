"""Answers of /v1/chat/completions by a JSON schema: what the model is told of it, and what the engine gets."""

import json
from typing import Any

import httpx

from proxy.settings import Settings
from tests.contract.chat import TOOLS, as_schema, ask, refused, said
from tests.fakes import FakeEngine, serving

NUMBER = {"type": "object", "properties": {"<|im_end|>ñ": {"type": "integer"}}}
NAMED_NUMBER = {"type": "json_schema", "json_schema": {"name": "count", "description": "How many", "schema": NUMBER}}


def told(engine: FakeEngine) -> str:
    """The system prompt of the answer that was begun last."""
    return bytes(engine.generations[-1].prompt).decode().split("\0")[0]


def test_a_schema_then_the_model_is_told_of_it_behind_the_system_prompt_unless_that_is_turned_off(
    client: httpx.Client, engine: FakeEngine
) -> None:
    text = json.dumps(NUMBER, ensure_ascii=False, separators=(",", ":"))
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    ask(client, messages=messages, response_format=NAMED_NUMBER)
    assert told(engine) == f"Be brief.\n\nGive your answer as JSON that follows this schema:\nHow many\n{text}"
    ask(client, response_format={"type": "json_object", "schema": NUMBER})
    assert told(engine) == f"Give your answer as JSON that follows this schema:\n{text}"
    for fields in (
        {"response_format": NAMED_NUMBER, "include_schema_in_prompt": False},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "text"}, "include_schema_in_prompt": True},
    ):
        ask(client, messages=messages, **fields)
        assert told(engine) == "Be brief."


def test_a_schema_when_it_would_take_more_than_half_of_the_room_then_it_is_not_told(
    client: httpx.Client, engine: FakeEngine
) -> None:
    context = engine.info.context_length
    for length, is_told in ((context // 2 - 100, True), (context // 2, False), (2 * context, False)):
        ask(client, response_format={"type": "json_schema", "schema": {"description": "x" * length}})
        assert bool(told(engine)) == is_told
    # What counts is the room beside the conversation.
    fields: dict[str, Any] = {"response_format": {"type": "json_object", "schema": {"type": "object"}}}
    for length, is_told in ((context // 2, True), (context - 100, False)):
        ask(client, messages=[{"role": "user", "content": "y" * length}], **fields)
        assert bool(told(engine)) == is_told


def test_a_schema_when_the_model_is_gpt_oss_then_it_is_told_in_its_form(settings: Settings) -> None:
    engine = FakeEngine(family="gpt_oss")
    with serving(settings, engine) as url, httpx.Client(base_url=url) as client:
        ask(client, response_format=NAMED_NUMBER)
    text = json.dumps(NUMBER, ensure_ascii=False, separators=(",", ":"))
    assert told(engine) == f"# Response Formats\n\n## count\n\n// How many\n{text}"


def test_a_schema_then_the_engine_gets_it_with_its_fields_in_order(client: httpx.Client) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"z": {"type": "null"}, "ä": {"type": "null"}}}
    schema["additionalProperties"] = False
    assert said(ask(client, response_format=as_schema(schema))) == json.dumps(
        schema, ensure_ascii=False, separators=(",", ":")
    )
    opened = {**schema, "additionalProperties": True}
    assert json.loads(said(ask(client, response_format=as_schema(opened)))) == opened
    left_out = {"type": "object", "properties": schema["properties"]}
    assert json.loads(said(ask(client, response_format=as_schema(left_out)))) == schema
    assert said(ask(client, response_format={"type": "json_object"})) == '{"type": "object"}'
    assert said(ask(client, response_format={"type": "json_object", "schema": {"z": 1}})) == '{"z":1}'
    assert said(ask(client, response_format={"type": "json_object", "schema": {}})) == '{"type": "object"}'
    assert said(ask(client, response_format={"type": "json_schema", "schema": {"z": 1}})) == '{"z":1}'
    assert said(ask(client, response_format={"type": "json_object"}, tools=TOOLS, tool_choice="none")).startswith("{")


def test_a_schema_that_can_t_be_followed_then_nothing_is_started(client: httpx.Client, engine: FakeEngine) -> None:
    before = len(engine.generations)
    refused(client, response_format=as_schema({"a": "!impossible"}), stream=True)
    assert len(engine.generations) == before
