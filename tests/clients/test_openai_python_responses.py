"""OpenAI's own Python SDK, and the OpenAI Agents SDK on top of it, against `/v1/responses` of a real server."""

from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest

TOOLS: Any = [{"type": "function", "name": "find", "parameters": {"type": "object"}, "strict": False}]
CALLS = [("find", '{"word": "é"}'), ("look", "{}")]


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_response_with_extra_body_then_text_and_report(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="fake", input="hello", extra_body={"persona": "silly", "coefficient": 0.5})
    assert answer.output_text == "[+0.50] You said: hello "
    assert (answer.model_extra or {})["steering"]["personas"] == {"silly": 0.5}


def test_stream_with_a_trace_then_every_token_s_projection_and_the_report_at_the_end(client: openai.OpenAI) -> None:
    extra = {"persona": "silly", "steering": {"trace": True}}
    traced: list[Any] = []
    for event in client.responses.create(model="fake", input="!think", stream=True, extra_body=extra):
        traced += (event.model_extra or {}).get("steering", {}).get("trace", [])
    assert event.type == "response.completed"
    final = event.response
    assert final.output_text == "[+1.00] You said: !think "
    whole = client.responses.create(model="fake", input="!think", extra_body=extra)
    report, streamed = (whole.model_extra or {})["steering"], (final.model_extra or {})["steering"]
    assert traced + streamed.get("trace", []) == report["trace"] and len(traced) > 3
    assert streamed["projection"] == report["projection"]


def test_calls_then_whole_streamed_and_answered_with_the_sdks_own_items(client: openai.OpenAI) -> None:
    whole = client.responses.create(model="fake", input="!tool", tools=TOOLS)
    with client.responses.stream(model="fake", input="!tool", tools=TOOLS) as stream:
        streamed = stream.get_final_response()
    for answer in (whole, streamed):
        calls = [item for item in answer.output if item.type == "function_call"]
        assert [(call.name, call.arguments) for call in calls] == CALLS
    results: Any = [
        {"type": "function_call_output", "call_id": item.call_id, "output": "4"}
        for item in whole.output
        if item.type == "function_call"
    ]
    history: Any = [{"role": "user", "content": "!tool"}, *whole.output, *results]
    assert client.responses.create(model="fake", input=history, tools=TOOLS).output_text == "You said: 4 "


class Empty(pydantic.BaseModel):
    """What the fake model's answer, which is the schema itself, can be read as."""

    type: str = "?"


def test_parse_then_the_object_that_was_asked_for(client: openai.OpenAI) -> None:
    answer = client.responses.parse(model="fake", input="hello", text_format=Empty)
    assert answer.output_parsed == Empty(type="object")


def test_failure_in_a_stream_then_api_error_with_its_message(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError, match="The model failed") as caught:
        list(client.responses.create(model="fake", input="!fail", stream=True))
    assert caught.value.code == "engine_failure"


def test_what_is_not_stored_then_the_sdks_own_kinds(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="stores none"):
        client.responses.retrieve("resp_1")
    with pytest.raises(openai.BadRequestError, match="nothing is stored") as caught:
        client.responses.create(model="fake", input="hello", previous_response_id="resp_1")
    assert caught.value.param == "previous_response_id"


@pytest.mark.anyio
@pytest.mark.parametrize("streamed", [False, True])
async def test_agent_by_its_default_path_then_it_calls_its_functions_and_ends_with_the_answer(
    url: str, streamed: bool
) -> None:
    import agents  # here: it takes as long to import as all else that the tests import

    called = []

    @agents.function_tool
    def find(word: str) -> str:
        called.append(word)
        return "4"

    @agents.function_tool
    def look() -> str:
        return "5"

    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
        model = agents.OpenAIResponsesModel("fake", openai_client=client)
        agent = agents.Agent(
            "Farmer",
            instructions="Be brief.",
            model=model,
            tools=[find, look],
            model_settings=agents.ModelSettings(extra_body={"persona": "silly"}),
        )
        config = agents.RunConfig(tracing_disabled=True)
        if streamed:
            running = agents.Runner.run_streamed(agent, "!tool", run_config=config)
            kinds = [event.type async for event in running.stream_events()]
            assert "raw_response_event" in kinds
            output = running.final_output
        else:
            output = (await agents.Runner.run(agent, "!tool", run_config=config)).final_output
    assert called == ["é"] and output == "[+1.00] <Be brief.> You said: 5 "
