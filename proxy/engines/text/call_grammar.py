"""The grammar of an answer that may call functions: text and then calls, or calls alone, or an answer by a schema.

A call is `<tool_call>`, a line of JSON with name and arguments in this order, `</tool_call>`. In llguidance's form of
Lark. Knows nothing of models or tokens.
"""

import json
from typing import Any

from proxy.engines.base import CallRules

OPEN, CLOSE = "<tool_call>", "</tool_call>"


def call_grammar(rules: CallRules, answer: str | None, blanks: str) -> str:
    """`answer` is the JSON schema of an answer that calls nothing, as text; None for any text. `blanks` is a regular
    expression of what may stand between the parts of JSON. ValueError for what is no JSON."""
    again = "(again call)*" if rules.several else ""
    calls = f"call {again}"
    if rules.needed:
        lines = [f"start: open {calls}"]
    elif answer is not None:
        lines = [f"start: answer | open {calls}", f"answer: %json {guided(answer, blanks)}"]
    else:
        # The head is lazy: a tag always begins a call, and is no text.
        lines = [f"start: TEXT | head {calls}", f'head[lazy]: TEXT "{OPEN}"', r"TEXT: /(.|\n)*/"]
    lines += [
        f'open: "{OPEN}"',
        rf'again: "\n{OPEN}"',
        rf'call: "\n{{\"name\": " one "}}\n{CLOSE}"',
        f"one: {' | '.join(f'f{number}' for number in range(len(rules.functions)))}",
    ]
    lines += [
        f"f{number}: {json.dumps(_named(function.name))} %json {guided(function.parameters, blanks)}"
        for number, function in enumerate(rules.functions)
    ]
    return "\n".join(lines)


def _named(name: str) -> str:
    return f'{json.dumps(name)}, "arguments": '


def guided(schema: str, blanks: str) -> str:
    """The schema, as text, with how llguidance is to read it. ValueError for what is no JSON object."""
    read: Any = json.loads(schema)
    if read is True:
        read = {}
    if not isinstance(read, dict):
        raise ValueError("a schema is an object")
    return json.dumps({**read, "x-guidance": {"whitespace_pattern": blanks, "lenient": False}})
