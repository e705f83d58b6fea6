"""The command `persona-proxy serve`, and `settings`, which prints what it can be told."""

import argparse

import msgspec

from proxy.catalogue.known import FIRST
from proxy.cli.common import MODEL, Commands, add_command, add_config, add_model_flags
from proxy.errors import ProxyError
from proxy.settings import ModelSettings, Settings, demo_models, load_settings, model_settings, override_models

EXAMPLES = """examples:
  persona-proxy serve                                       SmolLM2 and the demo models, on http://127.0.0.1:8000
  persona-proxy serve --model smollm2-135m-instruct         a known model, downloaded unless it is here
  persona-proxy serve --model Qwen/Qwen2.5-7B-Instruct      a model of the Hugging Face hub
  persona-proxy serve --model ./my-model --device cpu       a model in a folder
  persona-proxy serve --model qwen=http://gpu1:8000/v1#Qwen/Qwen2.5-7B-Instruct
                                                            a model that another server runs
  persona-proxy serve --model qwen=Qwen/Qwen2.5-7B-Instruct --model demo-qwen2
                                                            several, the first under a name of your own
  persona-proxy serve --config proxy.toml                   everything from a file; see `persona-proxy settings`
"""


def add_serve(commands: Commands) -> None:
    """Add `serve` to the command line."""
    serve = add_command(commands, "serve", "serve models; without options SmolLM2 and the demo models", EXAMPLES)
    help_ = (
        "a known model (`persona-proxy models`), a hub name, a folder, a demo model, or URL#NAME of another server; "
        "may be given several times"
    )
    serve.add_argument("--model", action="append", metavar=MODEL, help=help_)
    add_model_flags(serve)
    serve.add_argument("--engine", help="transformers, llama_cpp (GGUF files) or vllm, for every model")
    add_config(serve)
    serve.add_argument("--host", help="the address to listen on (127.0.0.1; 0.0.0.0 is every one)")
    serve.add_argument("--port", help="the port (8000; 0 takes a free one)")
    serve.add_argument(
        "--api-key",
        action="append",
        metavar="KEY",
        help="let only clients with this key in; repeatable (PERSONA_PROXY_API_KEYS keeps keys out of `ps`)",
    )
    serve.set_defaults(run=_serve)


def add_settings(commands: Commands) -> None:
    """Add `settings` to the command line."""
    show = add_command(commands, "settings", "print every setting: its variable, default and meaning")
    show.set_defaults(run=_settings)


def _serve(args: argparse.Namespace) -> None:
    given = {"host": args.host, "port": args.port, "models": args.model, "api_keys": args.api_key}
    flags = {name: value for name, value in given.items() if value is not None}
    unasked = _unasked_models()
    settings = load_settings(args.config, flags=flags, models=unasked)
    models = override_models(settings.models, device=args.device, dtype=args.dtype, engine=args.engine)
    from proxy.catalogue.pull import fetch_missing

    try:
        fetch_missing(models)
    except ProxyError as error:
        if settings.models is not unasked or settings.default_model == FIRST:
            raise
        print(f"{error.message}\nServing the toy models alone; the next start tries again.", flush=True)
        models = override_models(demo_models(), device=args.device, dtype=args.dtype, engine=args.engine)
    print("Starting ...", flush=True)
    begin(msgspec.structs.replace(settings, models=models))


def begin(settings: Settings) -> None:
    """Serve, with models that llama.cpp runs loading while Python imports the server. Other engines are Python
    themselves, and would only take turns with that. SetupError as for `proxy.server.serve`, and where the port can't be
    had."""
    from proxy.engines import registry as registries
    from proxy.serving.listening import listen

    listener = listen(settings.host, settings.port)
    registry = registries.Registry(settings.models, settings.max_batch)
    if all(model.engine == "llama_cpp" for model in settings.models if model.load == "start"):
        registry.start()
    from proxy.server import serve

    serve(settings, listener, registry)


def _unasked_models() -> list[ModelSettings]:
    """What is served where nobody says what: a real model at once, and the toys when they are asked for."""
    return [model_settings(FIRST), *(msgspec.structs.replace(model, load="demand") for model in demo_models())]


def _settings(args: argparse.Namespace) -> None:
    from proxy.settings_table import describe_settings

    print(describe_settings())
