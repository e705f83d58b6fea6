"""The schema that an answer is to follow, in words for the model. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.protocol.chat import ChatRequest


@dataclass(frozen=True)
class ToldSchema:
    """What is told of a schema; `name` is what the client calls it."""

    schema: Mapping[str, Any]
    name: str = "answer"
    description: str | None = None

    def words(self, *, harmony: bool) -> str:
        """`harmony`: in the form that GPT-OSS knows."""
        text = json.dumps(self.schema, ensure_ascii=False, separators=(",", ":"))
        said = (self.description or "").splitlines()
        if harmony:
            described = "".join(f"// {line}\n" for line in said)
            return f"# Response Formats\n\n## {self.name}\n\n{described}{text}"
        return "\n".join(["Give your answer as JSON that follows this schema:", *said, text])


def told_schema(data: ChatRequest) -> ToldSchema | None:
    """What the model is told of the request's schema: None where there is none, or where the client does not want
    it."""
    wanted = data.response_format
    if wanted is None or wanted.type == "text" or data.include_schema_in_prompt is False:
        return None
    if wanted.json_schema is not None:
        return ToldSchema(wanted.json_schema.schema, wanted.json_schema.name, wanted.json_schema.description)
    return ToldSchema(wanted.schema) if wanted.schema else None
