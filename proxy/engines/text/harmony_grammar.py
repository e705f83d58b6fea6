"""The grammar of a GPT-OSS answer that may call functions: thoughts, and then a call or an answer.

A call is a message `<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}`, or one that names the
function before its channel, as chat templates write it. It ends the answer, so that there is one at most. In
llguidance's form of Lark, with markers by their ids. Knows nothing of models.
"""

import json

from proxy.engines.base import CallableFunction, CallRules
from proxy.engines.text.call_grammar import guided
from proxy.engines.text.harmony import HarmonyFormat


def harmony_grammar(form: HarmonyFormat, rules: CallRules, answer: str | None, blanks: str) -> str:
    """As `call_grammar`, of what a prompt has begun with its last `<|start|>`, that included, and what follows."""
    if rules.needed:
        lines = ["start: begun (thought again)? call"]
    elif answer is not None:
        lines = [
            "start: begun (thought again)? (kept | call)",
            f'kept: channel "final" message %json {guided(answer, blanks)}',
        ]
    else:
        lines = [
            "start: begun ((thought | spoken) again)* (spoken | call)",
            'spoken: channel ("final" | "commentary") message TEXT',
        ]
    lines += [
        'begun: opening? "assistant"',
        'again: end opening "assistant"',
        'thought: channel "analysis" message TEXT',
        r"TEXT: /(.|\n)*/",
        f"call: {' | '.join(f'f{number}' for number in range(len(rules.functions)))}",
        *(line for number, each in enumerate(rules.functions) for line in _call(number, each, blanks)),
        # The name of the arguments' format, which may be left out
        'kind: " json"' if form.constrain is None else f'kind: " json" | " "? <[{form.constrain}]> "json"',
        f"opening: <[{form.start}]>",
        f"channel: <[{form.channel}]>",
        f"message: <[{form.message}]>",
        f"end: <[{form.end}]>",
    ]
    return "\n".join(lines)


def _call(number: int, function: CallableFunction, blanks: str) -> list[str]:
    to = f"to{number}"
    return [
        f'f{number}: (channel "commentary" {to} | {to} channel "commentary") kind? message '
        f"%json {guided(function.parameters, blanks)}",
        f"{to}: {json.dumps(f' to=functions.{function.name}')}",
    ]
