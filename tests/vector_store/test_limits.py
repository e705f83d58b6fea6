"""What comes from outside is bounded before anything is made of it: a plain refusal, soon, in little memory.

And what is believed later can't make work without end.
"""

import dataclasses
import io
import json
import pickle
import random
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from proxy.steering.sweep.svg import curve_svg
from tests.vector_store.test_choice import swept
from tests.vector_store.vectors import make_vector
from vector_store import BadVectorFile, ImportRefused, PersonaVector, VectorStoreError
from vector_store.exchange import Subject, export_vector, import_vector
from vector_store.files import decode, encode
from vector_store.formats import FORMAT_NAMES, Format
from vector_store.limits import MAX_COEFFICIENT

SIZE = 6_000_000  # bytes of what is hostile
WHO = Subject("org/model", "silly", "silly", "serious", 3, 5, "qwen2")


def taken(content: bytes, format: Format | None = None, **more: Any) -> PersonaVector:
    return import_vector(content, WHO, created="2026-01-01T00:00:00Z", software_version="1", format=format, **more)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(*keys: bytes, tensors: bytes = b"", n_tensors: int = 0, data: bytes = b"") -> bytes:
    known = [text("general.architecture") + struct.pack("<I", 8) + text("controlvector"), *keys]
    return b"GGUF" + struct.pack("<IQQ", 3, n_tensors, len(known)) + b"".join(known) + tensors + data


def torch_file(pickled: bytes, members: int = 0) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for number in range(members):
            archive.writestr(f"archive/data/{number}", b"")
    return written.getvalue()


def nested_keys(levels: int) -> bytes:
    """A dict whose key is a tuple of two of the same tuples, and so on: cheap to say, endless to hash."""
    steps = b"".join(
        b"h" + bytes([level]) * 1 + b"h" + bytes([level]) + b"\x86q" + bytes([level + 1]) for level in range(levels)
    )
    return b"\x80\x02}q\xff)q\x00" + steps + b"K\x01s."


HOSTILE: dict[str, Callable[[], bytes]] = {
    "gguf of many texts": lambda: gguf(text("a") + struct.pack("<IIQ", 9, 8, SIZE // 8) + b"\0" * SIZE),
    "gguf of many lists of texts": lambda: gguf(
        *(text(str(number)) + struct.pack("<IIQ", 9, 8, 1000) + b"\0" * 8000 for number in range(700))
    ),
    "gguf of a long text": lambda: gguf(text("general.name") + struct.pack("<I", 8) + text("a" * SIZE)),
    "gguf of a long list": lambda: gguf(
        text("persona_proxy.direction_0") + struct.pack("<IIQ", 9, 0, SIZE) + b"\1" * SIZE
    ),
    "gguf of a long tensor": lambda: gguf(
        tensors=text("direction.1") + struct.pack("<IQIQ", 1, SIZE // 2, 1, 0), n_tensors=1, data=b"\1" * (SIZE + 64)
    ),
    "torch file of many parts": lambda: torch_file(pickle.dumps([1], 2), members=40_000),
    "torch file of many numbers": lambda: torch_file(pickle.dumps(list(range(SIZE // 3)), 2)),
    "torch file of tuples without end": lambda: torch_file(nested_keys(60)),
    "torch file of a long text": lambda: torch_file(pickle.dumps("a" * SIZE, 2)),
    "json of many layers": lambda: b'{"vectors": {' + b",".join(b'"%d":0' % n for n in range(SIZE // 9)) + b"}}",
    "json of a long layer": lambda: b'{"vectors": {"layer_0": [' + b"0," * (SIZE // 2) + b"0]}}",
    "json without end": lambda: b'{"vectors": {"layer_0": ' + b"[" * SIZE,
    "json of deep rubbish": lambda: b'{"x": ' + b'{"a":' * (SIZE // 5),
    "safetensors of a long header": lambda: struct.pack("<Q", SIZE) + b'{"a":' + b"[" * SIZE,
    "safetensors of many tensors": lambda: (
        struct.pack("<Q", SIZE) + b'{"a":{"data_offsets":[0,0]},' * (SIZE // 28) + b"}"
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_import_when_a_file_is_made_to_cost_much_then_it_is_refused_soon_and_in_little_memory(name: str) -> None:
    content = HOSTILE[name]()
    began = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(VectorStoreError) as refused:
            taken(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * SIZE, f"{peak / SIZE:.1f} times the file"
    assert time.process_time() - began < 5
    assert len(str(refused.value)) < 2000


@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_import_when_a_good_file_is_changed_anywhere_then_a_vector_or_a_refusal(format: Format) -> None:
    rng = random.Random(format)
    content = export_vector(make_vector(), format)
    refusals = 0
    for _ in range(400):
        changed = bytearray(content)
        for _ in range(rng.choice([1, 1, 2, 8])):
            at = rng.randrange(len(changed))
            match rng.randrange(4):
                case 0:
                    changed[at] ^= 1 << rng.randrange(8)
                case 1:
                    changed[at : at + rng.choice([1, 8])] = bytes(rng.choice([0, 255]) for _ in range(8))
                case 2:
                    del changed[at : at + rng.randrange(40)]
                    changed = changed or bytearray(b"x")
                case _:
                    changed[at:at] = changed[rng.randrange(len(changed)) :][:40]
        for asked in (format, None):
            try:
                taken(bytes(changed), asked)
            except (BadVectorFile, ImportRefused):
                refusals += 1
    assert refusals > 100


@pytest.mark.parametrize("key", ["controlvector.model_hint", "general.name", "general.architecture"])
@pytest.mark.parametrize(
    "value",
    [
        struct.pack("<IIQ4f", 9, 6, 4, 1, 2, 3, 4),
        struct.pack("<IIQ", 9, 8, 1) + text("qwen2"),
        struct.pack("<IB", 7, 1),
        struct.pack("<Id", 12, 0.5),
        struct.pack("<I", 8) + text("a" * 301),
    ],
)
@pytest.mark.parametrize("ours", [False, True])
def test_gguf_when_no_text_stands_where_one_is_expected_then_it_is_refused(key: str, value: bytes, ours: bool) -> None:
    keys = [text(key) + value]
    if ours:
        keys.append(text("persona_proxy.direction_0") + struct.pack("<IIQ5f", 9, 6, 5, *[1.0] * 5))
    tensor = text("direction.1") + struct.pack("<IQIQ", 1, 5, 0, 0)
    head = gguf(*keys, tensors=tensor, n_tensors=1)
    content = head.ljust(-(-len(head) // 32) * 32, b"\0") + struct.pack("<5f", *[1.0] * 5)
    with pytest.raises(ImportRefused, match=f"{key} is no text"):
        taken(content)


@pytest.mark.parametrize(("number", "said"), [(3e38, "too large"), (1e-45, "too small"), (0.0, "all zero")])
@pytest.mark.parametrize("format", ["gguf", "paper", "hotwire", "prototype"])
def test_import_when_a_direction_has_no_length_in_float32_then_it_is_refused(
    number: float, said: str, format: Format
) -> None:
    vector = make_vector(means={}, residual_norms={}, poles={}, difference=np.full((3, 5), number, np.float32))
    with pytest.raises(ImportRefused, match=said):
        taken(export_vector(vector, format), format)


def test_import_when_some_blocks_have_no_direction_then_the_others_are_taken() -> None:
    rows = np.zeros((3, 5), np.float32)
    rows[1] = 1
    vector = make_vector(means={}, residual_norms={}, poles={}, difference=rows)
    np.testing.assert_array_equal(taken(export_vector(vector, "hotwire"), "hotwire").difference, rows)


@pytest.mark.parametrize("length", [0.0, 3e38])
def test_decode_when_a_pole_can_not_be_steered_then_the_file_is_bad(length: float) -> None:
    vector = make_vector()
    means = {span: {side: array.copy() for side, array in of.items()} for span, of in vector.means.items()}
    for of in means.values():
        of["positive"][:] = of["neutral"] + np.float32(length)
    with pytest.raises(BadVectorFile, match="the direction of the positive pole has the length"):
        decode(encode(dataclasses.replace(vector, means=means)), "x")


@pytest.mark.parametrize(
    ("hint", "model", "family", "taken_at_once"),
    [
        ("qwen2", "org/model", "qwen2", True),
        ("Qwen2", "org/model", "qwen2", True),
        ("gpt_oss", "org/model", "gpt-oss", True),
        ("org/model", "org/model", "qwen2", True),
        ("mistral", "org/model", "qwen2", False),
        ("mistral", "Qwen/Qwen2.5-7B-Instruct", None, False),
        ("qwen2", "Qwen/Qwen2.5-7B-Instruct", None, True),
        ("", "org/model", "qwen2", True),
    ],
)
def test_import_when_the_file_hints_at_another_model_then_it_is_taken_only_if_one_insists(
    hint: str, model: str, family: str | None, taken_at_once: bool
) -> None:
    tensor = text("direction.1") + struct.pack("<IQIQ", 1, 5, 0, 0)
    head = gguf(text("controlvector.model_hint") + struct.pack("<I", 8) + text(hint), tensors=tensor, n_tensors=1)
    content = head.ljust(-(-len(head) // 32) * 32, b"\0") + struct.pack("<5f", *[1.0] * 5)
    who = Subject(model, "silly", "silly", "serious", 3, 5, family)
    made: dict[str, Any] = {"created": "2026-01-01T00:00:00Z", "software_version": "1"}
    if not taken_at_once:
        with pytest.raises(ImportRefused, match=f"the file is for '{hint}', which is neither {model} nor its family"):
            import_vector(content, who, **made)
    assert import_vector(content, who, **made, insist=not taken_at_once).origin == "imported"


def changed(change: Callable[[dict[str, Any]], None]) -> bytes:
    """The file of a swept vector, with something else in its header."""
    content = encode(make_vector(sweeps=swept(40)))
    length = struct.unpack_from("<Q", content)[0]
    table = json.loads(content[8 : 8 + length])
    stored = json.loads(table["__metadata__"]["persona_vector"])
    change(stored["header"])
    table["__metadata__"]["persona_vector"] = json.dumps(stored)
    header = json.dumps(table).encode()
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def set_to(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(header: Any) -> None:
        for name in path[:-1]:
            header = header[name]
        header[path[-1]] = value

    return change


SWEEP = ("sweeps", "positive")
POINT = (*SWEEP, "points", 0)


@pytest.mark.parametrize(
    "change",
    [
        set_to(*POINT, "coefficient", value=2.0**22),
        set_to(*POINT, "coefficient", value=-1.0),
        set_to(*POINT, "coefficient", value=0.0),
        set_to(*POINT, "relative_dose", value=1e300),
        set_to(*POINT, "trait", value={"mean": 1e300, "low": 0.0, "high": 1.0}),
        set_to(*SWEEP, "points", value=[]),
        set_to(*SWEEP, "coherent_to", value=1e30),
        set_to(*SWEEP, "collapse", value=-1e30),
        set_to(*SWEEP, "judge", "name", value="x" * 5000),
        lambda header: header["sweeps"]["positive"].update(points=header["sweeps"]["positive"]["points"] * 300),
        set_to("poles", "positive", "relative_dose", value=1e30),
        set_to("poles", "positive", "measured_range", value=[0.0, 1e30]),
        set_to("n_layers", value=2**60),
        set_to("positive", value="x" * 5000),
        set_to("method", value="x" * 5_000_000),
    ],
)
def test_header_when_it_says_what_can_not_be_then_the_file_is_bad(change: Callable[[dict[str, Any]], None]) -> None:
    assert decode(changed(lambda header: None), "x").sweeps
    with pytest.raises(BadVectorFile):
        decode(changed(change), "x")


def test_curve_svg_when_its_coefficients_are_the_largest_there_may_be_then_it_is_small() -> None:
    vector = decode(changed(set_to(*POINT, "coefficient", value=MAX_COEFFICIENT)), "x")
    assert len(curve_svg(vector)) < 20_000
