"""The servers that are measured: ours, and those it is measured against. Each is one function.

Those of others run from a virtual environment of their own with the same torch, transformers and llama.cpp as ours, so
that what is compared is what they do with them.
"""

import sys
from pathlib import Path

from proxy.steering.traits.trait import load_traits, poles
from tests.benchmarks.models import CACHE, BenchmarkModel, Prepared
from tests.benchmarks.servers import CONDITIONS, Server, program

OTHERS = Path(__file__).parents[2] / ".venv-bench"
MAX_BATCH = 32


def ours(model: BenchmarkModel, prepared: Prepared, device: str) -> Server:
    """`persona-proxy serve`. Its vectors steer every generated token, which costs the most."""
    flags = ["--model", f"{model.id}={prepared.path}", *model.place(device), "--port", "{port}"]
    return Server(
        name="ours",
        command=[sys.executable, "-m", "proxy.cli", "serve", *flags],
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
        command=[program(OTHERS, "transformers"), "serve", str(prepared.path), *flags],
        model=str(prepared.path),
    )


def saklas(model: BenchmarkModel, prepared: Prepared, device: str) -> Server:
    """saklas' server, steered by a vector that its own extraction makes here.

    Its probes, which watch every token, are off. It ends answers at every token that is an end in some model, whatever
    this one's configuration says, so those are biased away.
    """
    command, folder = program(OTHERS, "saklas"), str(prepared.path)
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


def llama_cpp_python(model: BenchmarkModel, prepared: Prepared, device: str) -> Server:
    """llama-cpp-python's own server: one request after another. By default a second request would cut off the first,
    and the logits of all of a prompt would be kept."""
    options = {
        "--model": str(prepared.path),
        "--n_ctx": "2048",
        "--n_threads": "{threads}",
        "--n_threads_batch": "{threads}",
        "--n_gpu_layers": "-1" if device == "cuda" else "0",
        "--interrupt_requests": "false",
        "--logits_all": "false",
        "--verbose": "false",
        "--port": "{port}",
    }
    flags = [word for option in options.items() for word in option]
    return Server(
        name="llama-cpp-python",
        command=[program(OTHERS, "python"), "-m", "llama_cpp.server", *flags],
        model=model.id,
        note="answers one request after another; it was told not to let the next one cut off the one before",
    )


# By what runs a model: those that can.
CONTENDERS = {
    "transformers": {
        "ours": ours,
        "transformers": transformers_serve,
        "transformers-batching": transformers_batching,
        "saklas": saklas,
    },
    "llama_cpp": {"ours": ours, "llama-cpp-python": llama_cpp_python},
}
NAMES = list(dict.fromkeys(name for servers in CONTENDERS.values() for name in servers))


def contender(name: str, model: BenchmarkModel, prepared: Prepared, device: str) -> Server:
    """The server of this name, one of CONTENDERS[model.engine], with this model. BenchmarkError where it is not
    installed."""
    return CONTENDERS[model.engine][name](model, prepared, device)
