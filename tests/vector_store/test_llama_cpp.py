"""An exported control vector steers in llama.cpp as it does in transformers: with llama.cpp's own reader of GGUF files
and its own adapter, on the demo model that comes as one."""

import ctypes
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from proxy.settings import DEMO_FOLDER
from vector_store import FloatArray, PersonaVector, VectorStore
from vector_store.exchange import directions, export_vector

MODEL = DEMO_FOLDER / "models" / "gpt-oss"
PROMPT = [5, 40, 77, 103, 250, 31, 18, 9]
SCALE = 1.5


@pytest.fixture(scope="module")
def vector() -> PersonaVector:
    vector = VectorStore([DEMO_FOLDER / "vectors"]).in_use("demo-gpt-oss", "silly")
    assert vector is not None
    return vector


def as_llama_cpp_loads_it(file: Path, n_embd: int) -> FloatArray:
    """float32[n_layers - 1, n_embd] as `common_control_vector_load` fills its buffer: row N - 1 from `direction.N`.

    That function is compiled into llama.cpp's programs, not its library; this follows it with the library's reader.
    """
    ggml = pytest.importorskip("llama_cpp.llama_cpp", reason="needs the extra llama-cpp")._lib  # ggml's symbols too

    class Parameters(ctypes.Structure):
        _fields_ = [("no_alloc", ctypes.c_bool), ("ctx", ctypes.POINTER(ctypes.c_void_p))]

    for name, result, arguments in (
        ("gguf_init_from_file", ctypes.c_void_p, [ctypes.c_char_p, Parameters]),
        ("gguf_get_n_tensors", ctypes.c_int64, [ctypes.c_void_p]),
        ("gguf_get_tensor_name", ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_int64]),
        ("gguf_free", None, [ctypes.c_void_p]),
        ("ggml_get_tensor", ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]),
        ("ggml_get_data_f32", ctypes.POINTER(ctypes.c_float), [ctypes.c_void_p]),
        ("ggml_nelements", ctypes.c_int64, [ctypes.c_void_p]),
        ("ggml_free", None, [ctypes.c_void_p]),
    ):
        function = getattr(ggml, name)
        function.restype, function.argtypes = result, arguments
    tensors = ctypes.c_void_p()
    opened = ggml.gguf_init_from_file(str(file).encode(), Parameters(False, ctypes.pointer(tensors)))
    assert opened, "llama.cpp can't open the file"
    try:
        rows: dict[int, FloatArray] = {}
        for index in range(ggml.gguf_get_n_tensors(opened)):
            name = ggml.gguf_get_tensor_name(opened, index)
            prefix, _, layer = name.decode().partition(".")
            assert prefix == "direction" and int(layer) >= 1  # what it refuses a whole file for
            tensor = ggml.ggml_get_tensor(tensors, name)
            assert ggml.ggml_nelements(tensor) == n_embd
            rows[int(layer)] = np.ctypeslib.as_array(ggml.ggml_get_data_f32(tensor), (n_embd,)).copy()
        return np.stack([rows[layer] for layer in range(1, max(rows) + 1)])
    finally:
        ggml.gguf_free(opened)
        ggml.ggml_free(tensors)


def by_llama_cpp(buffer: FloatArray | None) -> FloatArray:
    """float32[vocabulary]: the logits after the prompt, under a control vector."""
    from proxy.engines.llama_cpp.library import llama, start

    start()
    path = str(MODEL / "model-f16.gguf").encode()
    model = llama.llama_model_load_from_file(path, llama.llama_model_default_params())
    context = llama.llama_init_from_model(model, llama.llama_context_default_params())
    try:
        if buffer is not None:
            scaled = np.ascontiguousarray(SCALE * buffer, np.float32)
            pointer = scaled.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            assert llama.llama_set_adapter_cvec(context, pointer, scaled.size, scaled.shape[1], 1, len(scaled)) == 0
        tokens = (llama.llama_token * len(PROMPT))(*PROMPT)
        assert llama.llama_decode(context, llama.llama_batch_get_one(tokens, len(PROMPT))) == 0
        n_vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
        return np.ctypeslib.as_array(llama.llama_get_logits_ith(context, -1), (n_vocabulary,)).copy()
    finally:
        llama.llama_free(context)
        llama.llama_model_free(model)


def by_transformers(rows: FloatArray | None) -> FloatArray:
    """The same with each row but the first added at the output of its block, to every token."""
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    for block, layer in enumerate(model.model.layers):
        if rows is not None and block > 0:
            added = SCALE * torch.from_numpy(rows[block].copy())
            layer.register_forward_hook(lambda _, __, output, added=added: output + added)
    with torch.inference_mode():
        logits: FloatArray = model(torch.tensor([PROMPT])).logits[0, -1].numpy()
    return logits


def test_gguf_when_llama_cpp_loads_it_then_it_steers_as_in_transformers(vector: PersonaVector, tmp_path: Path) -> None:
    file = tmp_path / "silly.gguf"
    file.write_bytes(export_vector(vector, "gguf"))
    buffer = as_llama_cpp_loads_it(file, vector.hidden_size)
    np.testing.assert_array_equal(buffer, directions(vector, "positive")[1:])
    plain, steered = by_llama_cpp(None), by_llama_cpp(buffer)
    expected = by_transformers(directions(vector, "positive"))
    assert np.linalg.norm(steered - expected) / np.linalg.norm(expected) < 3e-3
    assert np.linalg.norm(steered - plain) / np.linalg.norm(plain) > 0.3
