"""llama.cpp and ggml, as llama-cpp-python brings them: the calls it doesn't bind itself, and where their log goes.

Knows nothing of models or requests. Importing it raises SetupError where llama-cpp-python is not installed.
"""

import ctypes
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from proxy.errors import SetupError

try:
    import llama_cpp
except ImportError:
    raise SetupError(
        "engine llama_cpp: pip install 'persona-steering-proxy[llama-cpp]'; without it GGUF files run in transformers"
    ) from None
except (OSError, RuntimeError) as error:  # what its loader raises about the shared libraries
    raise SetupError(f"llama-cpp-python can't be used: {error}") from None

logger = logging.getLogger(__name__)

llama: Any = llama_cpp  # every call the package binds
_started = threading.Lock()
_complaints = threading.local()
_ERROR = 4  # GGML_LOG_LEVEL_ERROR; llama_cpp's own table of levels is an older one


def _find_ggml() -> Any:
    """The library whose symbols include ggml's: those of what libllama is linked with are found through it."""
    library = llama.llama_cpp._lib
    return ctypes.CDLL(str(Path(library._name).with_name("ggml-base.dll"))) if sys.platform == "win32" else library


def _bind(name: str, result: Any, *arguments: Any, library: Any = None) -> Any:
    function = (library or _find_ggml())[name]  # an object of its own, which its attribute of that name is not
    function.restype, function.argtypes = result, list(arguments)
    return function


_address, _size = ctypes.c_void_p, ctypes.c_size_t
# llama_get_logits, without an object made for the pointer each time.
logits_address = _bind("llama_get_logits", _address, _address, library=llama.llama_cpp._lib)
tensor_name = _bind("ggml_get_name", ctypes.c_char_p, _address)
tensor_rows = _bind("ggml_nrows", ctypes.c_int64, _address)
tensor_bytes = _bind("ggml_nbytes", _size, _address)
# (tensor, memory, offset in bytes, bytes): between the tensor, on whatever device it is, and our memory
read_tensor = _bind("ggml_backend_tensor_get", None, _address, _address, _size, _size)
write_tensor = _bind("ggml_backend_tensor_set", None, _address, _address, _size, _size)

_tensor_name_at = _bind("ggml_get_name", _address, _address)

# Called with every node of a graph before it is computed, to ask whether it should be called again afterwards. The
# C function passes two more arguments; that they are not taken makes each of the hundreds of calls a step cheaper.
NodeCallback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)


def address_of(function: Any) -> int:
    """Where a C function is, or a callback."""
    return ctypes.cast(function, _address).value or 0


def name_offset() -> int:
    """Where in a tensor's struct its name is, in bytes."""
    struct = ctypes.create_string_buffer(2048)  # more than it has
    at: int = _tensor_name_at(ctypes.addressof(struct))
    return at - ctypes.addressof(struct)


def _hear(level: int, text: bytes, _: object) -> None:
    if level != _ERROR:
        return
    line = text.decode("utf-8", "replace").strip()
    heard: list[str] | None = getattr(_complaints, "heard", None)
    if heard is None:
        logger.error("llama.cpp: %s", line)
    else:
        heard.append(line)


_log = llama.llama_log_callback(_hear)


@contextmanager
def complaints() -> Iterator[list[str]]:
    """The errors llama.cpp reports on this thread meanwhile, instead of in the log."""
    heard: list[str] = []
    _complaints.heard = heard
    try:
        yield heard
    finally:
        _complaints.heard = None


def n_threads() -> int:
    """Threads that compute: OMP_NUM_THREADS, as for PyTorch, else as many as there are cores this process may use."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) else n_cores()


def n_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start() -> None:
    """Before anything else is called. More than once is harmless."""
    with _started:
        llama.llama_log_set(_log, None)
        llama.llama_backend_init()
