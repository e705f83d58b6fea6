"""The servers that are measured: ours, and those it is measured against. Each is one function.

Those of others run from a virtual environment of their own with the same torch and transformers as ours, so that what
is compared is what they do with them.
"""

import sys
from pathlib import Path

from proxy.steering.traits import load_traits, poles
from tests.benchmarks.client import BenchmarkError
from tests.benchmarks.models import CACHE, BenchmarkModel, Prepared
from tests.benchmarks.servers import CONDITIONS, Server, program

OTHERS = Path(__file__).parents[2] / ".venv-bench"
MAX_BATCH = 32


def ours(model: BenchmarkModel, prepared: Prepared, device: str) -> Server:
    """`persona-proxy serve`. Its vectors steer every generated token, which costs the most."""
    flags = ["--device", device, "--dtype", model.dtype, "--port", "{port}"]
    return Server(
        name="ours",
        command=[sys.executable, "-m", "proxy.cli", "serve", "--model", f"{model.id}={prepared.folder}", *flags],
        model=model.id,
        conditions=CONDITIONS,
        personas=list(poles(load_traits())),
        steer=lambda persona, coefficient: {
            "persona": persona,
            "coefficient": coefficient,
            "steering": {"positions": "response"},
        },
        environment={"PERSONA_PROXY_MAX_BATCH": str(MAX_BATCH), "PERSONA_PROXY_VECTORS_DIR": str(prepared.vectors)},
    )


def transformers_serve(model: BenchmarkModel, prepared: Prepared, device: str) -> Server:
    """transformers' own server as it comes: one request after another."""
    return _transformers_serve("transformers serve", "--no-continuous-batching", model, prepared, device)


def transformers_batching(model: BenchmarkModel, prepared: Prepared, device: str) -> Server:
    """transformers' own server with continuous batching."""
    return _transformers_serve("transformers serve, batching", "--continuous-batching", model, prepared, device)


def _transformers_serve(name: str, flag: str, model: BenchmarkModel, prepared: Prepared, device: str) -> Server:
    flags = [flag, "--device", device, "--dtype", model.dtype, "--host", "127.0.0.1", "--port", "{port}"]
    return Server(
        name=name,
        command=[program(OTHERS, "transformers"), "serve", str(prepared.folder), *flags],
        model=str(prepared.folder),
    )


def saklas(model: BenchmarkModel, prepared: Prepared, device: str) -> Server:
    """saklas' server, steered by a vector that its own extraction makes here.

    Its probes, which watch every token, are off. It ends answers at every token that is an end in some model, whatever
    this one's configuration says, so those are biased away.
    """
    command, folder = program(OTHERS, "saklas"), str(prepared.folder)
    asked = ["--kind", "custom", "--system", "You are a very {c} assistant."]
    flags = ["--device", device, "--probes", "none", "--no-web", "--host", "127.0.0.1", "--port", "{port}"]
    note = "streams one answer at a time and breaks off a second one with 409, so the client held it back"
    if not model.toy:
        note += "; it was not steered, since its extraction takes answers that end"
    return Server(
        name="saklas",
        command=[command, "serve", folder, *flags],
        model=folder,
        conditions=("unsteered", "mixed") if model.toy else ("unsteered",),
        personas=("silly",),
        steer=lambda persona, coefficient: {"steering": f"{coefficient:.3f} {persona}"},
        fixed_length={"logit_bias": {str(token): -100 for token in prepared.end_ids}},
        environment={"SAKLAS_HOME": str(CACHE / "saklas")},
        before=[[command, "manifold", "extract", "silly", "serious", "--model", folder, *asked]] if model.toy else [],
        at_once=1,
        note=note,
    )


CONTENDERS = {
    "ours": ours,
    "transformers": transformers_serve,
    "transformers-batching": transformers_batching,
    "saklas": saklas,
}


def contender(name: str, model: BenchmarkModel, prepared: Prepared, device: str) -> Server:
    """The server of this name with this model. BenchmarkError where it is not installed."""
    if name not in CONTENDERS:
        raise BenchmarkError(f"there is no server {name!r}; possible: {', '.join(CONTENDERS)}")
    return CONTENDERS[name](model, prepared, device)
