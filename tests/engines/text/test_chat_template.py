"""Chat templates come out as transformers renders them, and what these refuse is refused."""

import subprocess
import sys
from typing import Any

import jinja2
import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from proxy.engines.text.chat_template import ChatTemplate
from tests.engines.tiny_models import CHAT_TEMPLATE, HARMONY_TEMPLATE, THINKING_TEMPLATE

TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be <b>brief</b> & 'kind'."},
    {"role": "user", "content": '  Grüße, "you"\n{{ not a template }} '},
    {"role": "assistant", "content": "Hm.", "reasoning": "They greet."},
    {"role": "user", "content": [{"type": "text", "text": "And now?"}]},
]
TOOLS = [
    {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"ü": {}}}}}
]
TEMPLATES = {
    "ChatML": CHAT_TEMPLATE,
    "Harmony": HARMONY_TEMPLATE,
    "thinking": THINKING_TEMPLATE,
    "blocks": """
    {%- for message in messages %}
        {% if message.role == 'user' %}
            {{- message['content'] | string | trim }}
        {% elif loop.first %}
{{ bos_token }}[{{ message.content | upper }}]
        {% endif %}
    {%- endfor %}
    """,
    "tools": "{% for tool in tools or [] %}{{ tool | tojson }}\n{{ tool | tojson(indent=2) }}{% endfor %}",
    "json": "{{ messages | tojson }}{{ messages | tojson(ensure_ascii=True, sort_keys=True, separators=(',', ':')) }}",
    "namespace": "{% set ns = namespace(n=0, self=1) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}"
    "{{ ns.n }}",
    "loop controls": "{% for m in messages %}{% if loop.index == 2 %}{% continue %}{% endif %}"
    "{{ m.role }}{% if loop.index == 3 %}{% break %}{% endif %}{% endfor %}",
    "generation": "{% set said = 1 %}{% for m in messages %}{% generation %}{% set said = 2 %}{{ m.role }}"
    "{% endgeneration %}{{ said }}{% endfor %}",
    "reasoning": "{% for m in messages %}{{ m.thinking }}/{{ m.reasoning_content }}/{{ m.reasoning }};{% endfor %}",
    "dict": "{{ dict(a=1) }}{{ dict.fromkeys(['x', 'y'], 2) }}{{ dict([('z', 3)]) }}",
    "date": "{{ strftime_now('%Y') }}",
    "macro": "{% macro said(m) %}<{{ m.role }}>{{ caller() }}{% endmacro %}"
    "{% for m in messages %}{% call said(m) %}{{ m.content }}{% endcall %}{% endfor %}",
    "given": "{{ enable_thinking is defined and not enable_thinking }}{{ documents is none }}"
    "{{ add_generation_prompt }}{{ options.depth }}{{ tools is none }}",
    "end of a line": "{% if true %}\nfirst\n{% endif %}\nlast\n",
    "refuses": "{{ raise_exception('no such role') }}",
    "changes": "{{ messages.append(1) }}",
    "underscore": "{% set ns = namespace(__class__=1) %}",
    "underscore later": "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
    "looks inside": "{{ dict.__class__ }}{{ messages.__class__.__mro__ }}",
    "adds a text to a number": "{{ 1 + 'a' }}",
    "does not compile": "{% for %}",
    "calls nothing": "{{ nothing() }}",
}
EXTRA: dict[str, Any] = {"bos_token": "<s>", "enable_thinking": False, "options": {"depth": [1, "ü"]}}


def outcome(render: Any) -> str | type[Exception]:
    try:
        return str(render())
    except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
        return type(error)


@pytest.mark.parametrize("tools", [None, TOOLS], ids=["without tools", "with tools"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_then_it_comes_out_as_transformers_renders_it(name: str, tools: Any) -> None:
    source = TEMPLATES[name]

    def expected() -> str:
        rendered: Any = render_jinja_template(
            [TALK], chat_template=source, tools=tools, add_generation_prompt=True, **EXTRA
        )
        text: str = rendered[0][0]
        return text

    template = ChatTemplate(source)
    assert outcome(lambda: template.render(TALK, tools, EXTRA)) == outcome(expected)


def test_a_server_of_gguf_files_when_imported_then_what_takes_long_and_is_not_needed_is_not() -> None:
    pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")
    slow = {"transformers", "torch", "huggingface_hub", "httpx"}
    told = f"import sys, proxy.server, proxy.engines.llama_cpp.engine; print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "set()"
