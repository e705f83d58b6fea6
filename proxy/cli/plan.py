"""The command `persona-proxy plan`: what measured personas will take of a model, before any is made."""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from proxy.cli.common import Commands, Models, add_command, add_config, add_model, add_model_flags, traits_named
from proxy.errors import SetupError
from proxy.settings import load_settings

if TYPE_CHECKING:
    from proxy.engines.base import Engine
    from proxy.steering.traits.trait import Trait

EXAMPLES = """examples:
  persona-proxy plan --model smollm2-135m-instruct
  persona-proxy plan --model Qwen/Qwen2.5-7B-Instruct --device cuda --dtype bfloat16
"""


def add_plan(commands: Commands) -> None:
    """Add `plan` to the command line."""
    summary = "say what extraction, sweeps and transfer will take of a model, by its shape and a short trial"
    command = add_command(commands, "plan", summary, EXAMPLES)
    add_model(command)
    command.add_argument("--trait", default="silly", help="the trait whose questions are tried (%(default)s)")
    add_model_flags(command)
    add_config(command)
    command.set_defaults(run=_plan)


def _plan(args: argparse.Namespace) -> None:
    settings = load_settings(args.config)
    models = Models(settings, args.device, args.dtype, sys.stderr)
    model = models.named(args.model)
    (trait,) = traits_named([args.trait], settings)
    with models:
        print(*_lines(models.load(model), trait), sep="\n")


def _lines(engine: "Engine", trait: "Trait") -> Iterator[str]:
    """What the trial found and what follows. Blocks for seconds."""
    from proxy.cli.results import duration
    from proxy.steering.cost import measure_speed
    from proxy.steering.forecast import forecasts
    from proxy.steering.judge import default_kind

    info = engine.info
    if info.in_words:
        reason = "runs on another server, which reads no residuals; possible: a model that runs here"
        raise SetupError(f"--model: {info.id} {reason}")
    weights = "" if info.weights_bytes is None else f"; weights {_size(info.weights_bytes)}"
    where = f"{info.engine} on {info.device}, {info.dtype}"
    yield f"{info.id}: {info.n_layers} blocks of {info.hidden_size}, {where}{weights}"
    speed = measure_speed(engine, trait)
    yield f"in a short trial {speed.made:.0f} tokens a second written, many answers at once, and {speed.read:.0f} read"
    kind = default_kind(info, trait)
    usual = f"{kind}, within a budget by reading" if kind == "likelihood" else kind
    yield f"for one trait, judged by {usual}; each line by itself:"
    rows = [
        (one.what, duration(one.seconds), _size(one.memory) if one.memory else "-", _size(one.disk))
        for one in forecasts(info, trait, kind, speed)
    ]
    titles = ("", "time", "memory beyond the model", "on disk")
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield "transfer fit is to a model of the same shape and speed; transfer fit --estimate tries a pair"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 / 10 else f"{n_bytes / 2**20:.1f} MiB"
