"""A model's chat template, which is Jinja, rendered as Hugging Face's libraries do it. To import these takes most of a
second, and a GGUF file needs nothing else of them.

Templates are made by strangers, so they run in Jinja's sandbox and change nothing that they are given.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from proxy.engines.base import Message, Tool

_REASONING = ("reasoning_content", "thinking", "reasoning")  # names that templates know a message's thoughts by


class ChatTemplate:
    """Compiled when it is first rendered. Any thread may use it."""

    def __init__(self, source: str) -> None:
        self.source = source

    def render(self, messages: Sequence[Message], tools: Sequence[Tool] | None, extra: Mapping[str, Any]) -> str:
        """A conversation with the prompt for an answer; `extra` is what else the template gets to see. Whatever the
        template raises: jinja2.TemplateError, TypeError, ValueError or KeyError."""
        return self._compiled.render(
            messages=[_with_reasoning(message) for message in messages],
            tools=list(tools) if tools else None,
            documents=None,
            add_generation_prompt=True,
            **extra,
        )

    @cached_property
    def _compiled(self) -> jinja2.Template:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals |= {
            "raise_exception": _refuse,
            "strftime_now": lambda form: datetime.now().strftime(form),
            "namespace": _Names,
            "dict": _Dict(),
        }
        return environment.from_string(self.source)


class _Generation(Extension):
    """`{% generation %}` marks for training what a model has said. Here it is a block as any other."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class _Names(Namespace):
    """Jinja's own, in which a template can put nothing under a name that Python gives a meaning."""

    def __init__(*args: Any, **names: Any) -> None:  # so that a template may call a name `self`
        self, *given = args
        wanted = dict(*given, **names)
        for name in wanted:
            _check(name)
        Namespace.__init__(self, wanted)

    def __setitem__(self, name: str, value: Any) -> None:
        _check(name)
        super().__setitem__(name, value)


class _Dict:
    """What of Python's type `dict` a template may use."""

    def __call__(self, *args: Any, **names: Any) -> dict[Any, Any]:
        return dict(*args, **names)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _check(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace takes no name that begins with an underscore, such as {name}")


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Without Jinja's escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _with_reasoning(message: Message) -> Message:
    """The message with its thoughts under the names that templates look for."""
    thoughts = next((message[name] for name in _REASONING if message.get(name) is not None), None)
    if thoughts is None:
        return message
    return {"thinking": thoughts, **message, "reasoning_content": thoughts}
