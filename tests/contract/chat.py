"""How tests ask /v1/chat/completions."""

import json
from typing import Any

import httpx

URL = "/v1/chat/completions"
TOOLS = [{"type": "function", "function": {"name": "find", "description": "Finds.", "parameters": {"type": "object"}}}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"word": "a"}'}}


def called(arguments: str) -> dict[str, Any]:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def as_schema(schema: Any, name: str = "it") -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}


def ask(client: httpx.Client, said: str = "hello", *, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    body = {"model": "fake", "messages": [{"role": "user", "content": said}], **fields}
    response = client.post(URL, json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def said(answer: dict[str, Any], index: int = 0) -> str:
    content: str = answer["choices"][index]["message"]["content"]
    return content


def refused(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    body = {"model": "fake", "messages": [{"role": "user", "content": "hello"}], **fields}
    response = client.post(URL, content=json.dumps(body), headers={"content-type": "application/json"})
    assert 400 <= response.status_code < 500, response.text
    error: dict[str, Any] = response.json()["error"]
    return {"status": response.status_code, **error}
