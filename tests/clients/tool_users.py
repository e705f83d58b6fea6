"""One question asked by many clients: each has the model call a function, hands its result back and reads the answer.

Run by the Python of an environment that has the client: `python tool_users.py CLIENT URL MODEL` prints as JSON what was
called and answered. Imports nothing of this project. The first answer has to be a call: small models rarely choose one.
"""

import asyncio
import dataclasses
import json
import sys
from typing import Any, Literal

QUESTION = "What is the weather in Lima?"
RESULT = "Rain, 7 degrees."
LIMITS: dict[str, Any] = {"max_tokens": 60, "temperature": 0}
FUNCTION: dict[str, Any] = {
    "name": "get_weather",
    "description": "Tells the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 30}, "unit": {"type": "string", "enum": ["C", "F"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
}
TOOLS: Any = [{"type": "function", "function": FUNCTION}]

called: list[dict[str, Any]] = []


def get_weather(city: str, unit: Literal["C", "F"]) -> str:
    """Tells the weather of a city."""
    called.append({"city": city, "unit": unit})
    return RESULT


def by_openai(url: str, model: str) -> str:
    """OpenAI's SDK and its chat completions, streamed the first time."""
    import openai

    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    messages: Any = [{"role": "user", "content": QUESTION}]
    with client.chat.completions.stream(
        model=model, messages=messages, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, **LIMITS
    ) as stream:
        choice = stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.tool_calls
    messages.append(choice.message.model_dump(exclude_none=True, exclude={"parsed"}))
    for call in choice.message.tool_calls:
        said = get_weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": said})
    last = client.chat.completions.create(model=model, messages=messages, tools=TOOLS, tool_choice="none", **LIMITS)
    return str(last.choices[0].message.content)


def by_openai_responses(url: str, model: str) -> str:
    """OpenAI's SDK and its responses."""
    import openai

    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    tools: Any = [{"type": "function", **FUNCTION}]
    limits: Any = {"max_output_tokens": LIMITS["max_tokens"], "temperature": 0, "tools": tools}
    items: Any = [{"role": "user", "content": QUESTION}]
    first = client.responses.create(model=model, input=items, tool_choice="required", **limits)
    items += first.output
    for item in first.output:
        if item.type == "function_call":
            said = get_weather(**json.loads(item.arguments))
            items.append({"type": "function_call_output", "call_id": item.call_id, "output": said})
    return str(client.responses.create(model=model, input=items, tool_choice="none", **limits).output_text)


def by_langchain(url: str, model: str) -> str:
    """LangChain's chat model with a bound tool."""
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_openai import ChatOpenAI

    chat: Any = ChatOpenAI(base_url=url, api_key="none", model=model, max_retries=0, **LIMITS)
    messages: list[Any] = [HumanMessage(QUESTION)]
    messages.append(chat.bind_tools([get_weather], tool_choice="required").invoke(messages))
    for call in messages[-1].tool_calls:
        messages.append(ToolMessage(get_weather(**call["args"]), tool_call_id=call["id"]))
    return str(chat.bind_tools([get_weather], tool_choice="none").invoke(messages).content)


def by_litellm(url: str, model: str) -> str:
    """LiteLLM as an SDK."""
    import litellm

    asked: Any = {"model": f"openai/{model}", "api_base": url, "api_key": "none", "tools": TOOLS, **LIMITS}
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    first = litellm.completion(messages=messages, tool_choice="required", **asked)
    messages.append(first.choices[0].message.model_dump(exclude_none=True))
    for call in first.choices[0].message.tool_calls:
        said = get_weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": said})
    return str(litellm.completion(messages=messages, tool_choice="none", **asked).choices[0].message.content)


def by_agents(url: str, model: str) -> str:
    """The OpenAI Agents SDK by its default path, `/v1/responses`; it stops forcing a call once there was one."""
    import agents
    import openai

    async def run() -> str:
        client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
        settings = agents.ModelSettings(tool_choice="required", parallel_tool_calls=False, **LIMITS)
        agent: Any = agents.Agent(
            "Forecaster",
            model=agents.OpenAIResponsesModel(model, openai_client=client),
            tools=[agents.function_tool(get_weather)],
            model_settings=settings,
        )
        config = agents.RunConfig(tracing_disabled=True)
        return str((await agents.Runner.run(agent, QUESTION, run_config=config)).final_output)

    return asyncio.run(run())


def by_instructor(url: str, model: str) -> str:
    """instructor reads an object from the call of a function that it makes of a class, and the answer from another."""
    import instructor
    import openai
    import pydantic

    class Asked(pydantic.BaseModel):
        """The arguments."""

        city: str = pydantic.Field(max_length=30)
        unit: Literal["C", "F"]

    class Answer(pydantic.BaseModel):
        """The answer, in a few words."""

        words: str = pydantic.Field(max_length=60)

    client: Any = instructor.from_openai(openai.OpenAI(base_url=url, api_key="none", max_retries=0))
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    asked = client.chat.completions.create(
        model=model, messages=messages, response_model=Asked, max_retries=0, **LIMITS
    )
    said = get_weather(asked.city, asked.unit)
    messages.append({"role": "user", "content": f"The weather in {asked.city}: {said} {QUESTION}"})
    answer = client.chat.completions.create(
        model=model, messages=messages, response_model=Answer, max_retries=0, **LIMITS
    )
    return str(answer.words)


def by_pydantic_ai(url: str, model: str) -> str:
    """A pydantic-ai agent, which has to call at its first step and must not at its second."""
    from pydantic_ai import Agent
    from pydantic_ai.capabilities import AbstractCapability
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    @dataclasses.dataclass
    class CallFirst(AbstractCapability):  # type: ignore[misc, type-arg, unused-ignore]
        def get_model_settings(self) -> Any:
            return lambda ctx: {"tool_choice": "required" if ctx.run_step == 1 else "none", **LIMITS}

    chat = OpenAIChatModel(model, provider=OpenAIProvider(base_url=url, api_key="none"))
    agent: Any = Agent(chat, tools=[get_weather], capabilities=[CallFirst()])
    return str(agent.run_sync(QUESTION).output)


CLIENTS = {
    "openai": by_openai,
    "openai-responses": by_openai_responses,
    "openai-agents": by_agents,
    "langchain": by_langchain,
    "litellm": by_litellm,
    "instructor": by_instructor,
    "pydantic-ai": by_pydantic_ai,
}

if __name__ == "__main__":
    answer = CLIENTS[sys.argv[1]](*sys.argv[2:])
    print(json.dumps({"called": called, "answer": answer}))
