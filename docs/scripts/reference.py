"""Writes docs/reference from the code: settings, the HTTP API and the command line.

    python -m docs.scripts.reference

A test holds the pages to the code, so run this after a change of a setting, a route, a wire struct or a command.
"""

import argparse
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from proxy.app import create_app
from proxy.chat.unsupported import ENDPOINTS, uses
from proxy.cli.main import parser
from proxy.engines.registry import Registry
from proxy.settings import ModelSettings, Settings
from proxy.settings_table import describe_settings

FOLDER = Path(__file__).parent.parent / "reference"
HEAD = "<!-- written by `python -m docs.scripts.reference`: change the code, not this page -->\n"
METHODS = ("get", "post", "patch", "delete")


def pages() -> dict[str, str]:
    """Every page of the reference by its file name."""
    return {
        "settings.md": "\n".join(_settings()) + "\n",
        "http-api.md": "\n".join(_http_api()) + "\n",
        "command-line.md": "\n".join(_command_line()) + "\n",
    }


def _settings() -> Iterator[str]:
    yield HEAD + "# Settings"
    yield "\nFlags win over the environment. The environment wins over the file."
    yield "[How to set them](../guide/settings.md).\n"
    yield describe_settings()


def _http_api() -> Iterator[str]:
    yield HEAD + "# HTTP API"
    yield (
        "\nBodies are JSON. Every error has the same body, [ErrorResponse](#errorresponse), on every route. A model's "
        "id may hold one slash: write it in the path as it is. The server shows the same at `/schema`.\n"
    )
    schema = _openapi()
    structs: list[str] = []
    for heading, tag in (("OpenAI", "OpenAI"), ("Steering", "Steering"), ("State", None)):
        yield f"\n## {heading}"
        for (method, _), (paths, operation) in _operations(schema, tag).items():
            yield f"\n### {operation['summary']}\n"
            yield from (f"`{method.upper()} {path}`  " for path in paths)
            if text := operation.get("description"):
                yield f"\n{text}"
            yield from _asked_and_answered(operation, structs)
    yield "\n## Structures"
    yield "\nA field that has a default, or may be null, can be left out of a request."
    yield from _structures(structs)
    yield from _fields()


def _fields() -> Iterator[str]:
    """What OpenAI's endpoints do with each field of a request."""
    yield "\n## Fields of requests"
    yield (
        "\nWhat OpenAI's endpoints do with OpenAI's fields, other servers' and this one's own. *Ignored* ones say "
        "nothing of the answer; a field that is not in the table is ignored too. *Refused* ones would change the "
        "answer: set, they are a 400.\n"
    )
    used = {path: uses(endpoint) for path, endpoint in ENDPOINTS.items()}
    yield f"| field | {' | '.join(f'`{path}`' for path in used)} |\n| --- |{' --- |' * len(used)}"
    for name in sorted({name for fields in used.values() for name in fields}):
        yield f"| `{name}` | {' | '.join(fields.get(name, 'ignored') for fields in used.values())} |"
    yield "\n## Refused fields"
    yield "\nThe values of refused fields that change nothing are taken.\n"
    yield "| field | of | values that change nothing | possible instead |\n| --- | --- | --- | --- |"
    rows: dict[tuple[str, str, str], list[str]] = {}
    for path, endpoint in ENDPOINTS.items():
        for name, field in endpoint.unsupported.items():
            harmless = dict.fromkeys(["null", *(msgspec.json.encode(value).decode() for value in field.harmless)])
            row = name, ", ".join(f"`{each}`" for each in harmless), field.possible
            rows.setdefault(row, []).append(f"`{path}`")
    for (name, harmless_values, possible), paths in rows.items():
        where = "all" if len(paths) == len(ENDPOINTS) else ", ".join(paths)
        yield f"| `{name}` | {where} | {harmless_values} | {possible} |"


def _openapi() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = Settings(
            models=[ModelSettings("model", "model")],
            vectors_dir=str(folder / "vectors"),
            traits_dir=folder / "traits",
            jobs_dir=folder / "jobs",
            transfers_dir=folder / "transfers",
        )
        return create_app(settings, Registry(settings.models, 1)).openapi_schema.to_schema()


def _operations(schema: dict[str, Any], tag: str | None) -> dict[tuple[str, str], tuple[list[str], dict[str, Any]]]:
    """By method and summary: the paths, but for those that only differ by a slash in the model id, and the rest."""
    found: dict[tuple[str, str], tuple[list[str], dict[str, Any]]] = {}
    for path, operations in schema["paths"].items():
        for method in METHODS:
            operation = operations.get(method)
            if operation is None or (operation.get("tags") or [None])[0] != tag or "{owner}" in path:
                continue
            paths, first = found.setdefault((method, operation["summary"]), ([], operation))
            # The shortest comes first: what it can't name is left to the longer ones.
            paths.append(path)
            paths.sort(key=len)
    return found


def _asked_and_answered(operation: dict[str, Any], structs: list[str]) -> Iterator[str]:
    if queries := [each for each in operation.get("parameters", []) if each["in"] == "query"]:
        yield "\n| query | type | default |\n| --- | --- | --- |"
        for each in queries:
            default = each["schema"].get("default")
            yield f"| `{each['name']}` | {_type(each['schema'], [])} | {_code(default)} |"
    if content := operation.get("requestBody", {}).get("content"):
        body = _type(next(iter(content.values()))["schema"], structs)
        yield f"\nBody: {body}"
    answers, errors = [], []
    for status, response in sorted(operation["responses"].items()):
        type_ = _type(next(iter(response.get("content", {"": {"schema": {}}}).values()))["schema"], structs)
        # For some routes Litestar adds a 400 of its own shape, which its handler here never sends.
        if type_.startswith("[ErrorResponse]") or (int(status) >= 400 and not type_.startswith("[")):
            errors.append(status)
        else:
            answers.append(f"{status} {type_}")
    yield f"\nAnswers: {', '.join(answers)}" + (f". Errors: {', '.join(errors)}" if errors else "")


def _structures(names: list[str]) -> Iterator[str]:
    known = _struct_classes(msgspec.Struct)
    _, components = msgspec.json.schema_components([known[name] for name in names if name in known])
    told: set[str] = set()
    queue = sorted(set(names) & set(components)) + ["ErrorResponse"]
    while queue:
        name = queue.pop(0)
        if name in told:
            continue
        told.add(name)
        named: list[str] = []
        yield from _structure(name, components[name], named)
        queue = sorted(set(queue + named) - told)


def _structure(name: str, schema: dict[str, Any], named: list[str]) -> Iterator[str]:
    yield f"\n### {name}"
    if text := schema.get("description"):
        yield "\n" + re.sub(r"\s*\n\s*", "\n", text.strip())
    yield "\n| field | type | default |\n| --- | --- | --- |"
    required = schema.get("required", [])
    for field, described in schema.get("properties", {}).items():
        default = "required" if field in required else _code(described.get("default"))
        yield f"| `{field}` | {_type(described, named)} | {default} |"


def _struct_classes(base: type) -> dict[str, type]:
    found: dict[str, type] = {}
    each: type
    for each in base.__subclasses__():
        if each.__module__.startswith(("proxy.", "vector_store.")):
            found[each.__name__] = each
        found |= _struct_classes(each)
    return found


def _type(schema: dict[str, Any], named: list[str]) -> str:
    """A JSON schema in words. The structs it names are added to `named`."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        named.append(name)
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return ", ".join("null" if value is None else _code(value) for value in schema["enum"])
    if "const" in schema:
        return _code(schema["const"])
    if options := schema.get("anyOf") or schema.get("oneOf"):
        # null comes last: it is what is left out.
        ordered = sorted(options, key=lambda each: each.get("type") == "null")
        return " or ".join(_type(each, named) for each in ordered)
    kind = schema.get("type")
    if kind == "array":
        items = "prefixItems" in schema and ", ".join(_type(each, named) for each in schema["prefixItems"])
        limits = _limits(schema) + " items" if _limits(schema) else ""
        return f"list of {items or _type(schema.get('items') or {}, named)}{',' if limits else ''}{limits}"
    if kind == "object":
        return f"object of {_type(schema.get('additionalProperties') or {}, named)}"
    return f"{kind or 'any'}{_limits(schema)}"


def _limits(schema: dict[str, Any]) -> str:
    least, most = (
        next((schema[name] for name in names if name in schema), None)
        for names in (("minimum", "minItems", "minLength"), ("maximum", "maxItems", "maxLength"))
    )
    above = f" above {schema['exclusiveMinimum']:g}" if "exclusiveMinimum" in schema else ""
    if least is not None and most is not None:
        return f" {_number(least)} to {_number(most)}"
    return above + (
        f" from {_number(least)}" if least is not None else f" to {_number(most)}" if most is not None else ""
    )


def _number(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e6 else str(value)


def _code(value: object) -> str:
    return "none" if value in (None, [], {}) else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _command_line() -> Iterator[str]:
    yield HEAD + "# Command line"
    yield (
        "\nIn a clone the command is `.venv/bin/persona-proxy`. Exit codes: 0 done, 1 a failure, 2 a mistake in what "
        "was typed or set, 130 interrupted.\n"
    )
    yield from _command(parser(), "persona-proxy", 2)


def _command(command: argparse.ArgumentParser, name: str, level: int) -> Iterator[str]:
    """A command's options as a table, its examples, and the commands below it. From the parser itself, since the text
    of `--help` differs between versions of Python."""
    if level > 2:
        yield f"\n{'#' * min(level - 1, 3)} {name}\n"
    if command.description:
        yield re.sub(r"\n(?=\S)", "\n", command.description.strip())
    options = [action for action in command._actions if not isinstance(action, argparse._SubParsersAction)]
    options = [action for action in options if not isinstance(action, argparse._HelpAction)]
    if options:
        yield "\n| option | meaning |\n| --- | --- |"
        for action in options:
            yield f"| `{_option(action)}` | {_help(action)} |"
    if command.epilog and command.epilog.startswith("examples:"):
        yield "\n<!-- not run: examples of the command's own help -->\n```text"
        yield command.epilog.rstrip().removeprefix("examples:\n") + "\n```"
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below, each in action.choices.items():
                yield from _command(each, f"{name} {below}", level + 1)


def _option(action: argparse.Action) -> str:
    value = action.metavar or (action.dest.upper() if action.type or action.nargs is None else "")
    if action.choices:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        return f"[{value}]" if action.nargs == "?" else str(value)
    return f"{action.option_strings[-1]} {value}".strip() if action.nargs != 0 else action.option_strings[-1]


def _help(action: argparse.Action) -> str:
    text = (action.help or "") % {**vars(action), "prog": "persona-proxy"}
    text = re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")
    return f"{text} (required)" if action.required and action.option_strings else text


def main() -> None:
    """Write every page."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(f"wrote {FOLDER / name}")


if __name__ == "__main__":
    main()
