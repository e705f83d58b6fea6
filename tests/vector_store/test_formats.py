"""Vectors survive the way out and back in every format, other tools read what is written, and nothing in a damaged or
malicious file is ever run, trusted or made room for."""

import contextlib
import io
import json
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vector_store.vectors import make_vector
from vector_store import BadVectorFile, ImportRefused, PersonaVector, Side, VectorStoreError
from vector_store.exchange import Subject, directions, export_vector, import_vector, note
from vector_store.formats import FORMAT_NAMES, Format

FOREIGN: tuple[Format, ...] = FORMAT_NAMES[1:]
MADE: dict[str, Any] = {"created": "2026-05-06T07:08:09+00:00", "software_version": "9"}


def subject(vector: PersonaVector, known: bool = True) -> Subject:
    shape = (vector.n_layers, vector.hidden_size) if known else (None, None)
    return Subject(vector.model_id, vector.trait, vector.positive, vector.negative, *shape)


def taken(content: bytes, vector: PersonaVector, **options: Any) -> PersonaVector:
    return import_vector(content, subject(vector), **MADE, **options)


@given(
    format=st.sampled_from(FOREIGN),
    side=st.sampled_from(["positive", "negative"]),
    n_layers=st.integers(2, 6),
    hidden_size=st.integers(1, 40),
    seed=st.integers(0, 100),
    scale=st.sampled_from([1e-15, 1e-3, 1.0, 1e6, 1e15]),
)
@settings(max_examples=60)
def test_export_when_imported_again_then_the_directions_are_the_same(
    format: Format, side: Side, n_layers: int, hidden_size: int, seed: int, scale: float
) -> None:
    rows = np.random.default_rng(seed).standard_normal((n_layers, hidden_size)).astype(np.float32) * np.float32(scale)
    vector = make_vector(
        n_layers=n_layers, hidden_size=hidden_size, poles={}, means={}, residual_norms={}, difference=rows
    )
    content = export_vector(vector, format, side)
    says_pole = format in ("gguf", "prototype")
    for known in (True, False):
        back = import_vector(content, subject(vector, known), **MADE, format=format, side=None if says_pole else side)
        np.testing.assert_array_equal(directions(back, "positive"), rows)
    assert export_vector(vector, format, side) == content


@pytest.mark.parametrize("format", FOREIGN)
def test_import_when_of_another_tool_then_what_is_unknown_is_said_to_be(format: Format) -> None:
    vector = make_vector()
    back = taken(export_vector(vector, format), vector)
    np.testing.assert_array_equal(directions(back, "positive"), directions(vector, "positive"))
    assert (back.origin, back.fingerprint, back.poles, back.means, back.residual_norms) == ("imported", "", {}, {}, {})
    assert (back.created, back.software_version) == tuple(MADE.values()) and format in back.method
    assert "never measured" in note(back, "positive")


def test_import_when_the_stores_own_then_it_is_the_vector_itself() -> None:
    vector = make_vector()
    for who in (None, subject(vector)):
        back = import_vector(export_vector(vector, "safetensors"), who, **MADE)
        assert back.created == vector.created and back.poles == vector.poles
    with pytest.raises(ImportRefused, match="for the trait 'silly', not 'other'"):
        import_vector(export_vector(vector, "safetensors"), Subject(vector.model_id, "other", "a", "b"), **MADE)
    with pytest.raises(ImportRefused, match=r"for 3 blocks of 5, org/model has 4 of 5"):
        import_vector(
            export_vector(vector, "safetensors"), Subject(vector.model_id, "silly", "silly", "serious", 4, 5), **MADE
        )


@pytest.mark.parametrize("format", ["gguf", "prototype"])
def test_import_when_the_file_names_its_pole_then_another_is_refused(format: Format) -> None:
    vector = make_vector()
    content = export_vector(vector, format, "negative")
    with pytest.raises(ImportRefused, match="leads to 'serious', which is not the pole"):
        taken(content, vector, side="positive")
    back = taken(content, vector, side="negative")
    np.testing.assert_array_equal(directions(back, "negative"), directions(vector, "negative"))


def test_gguf_then_the_gguf_package_reads_it_as_a_control_vector(tmp_path: Path) -> None:
    vector = make_vector(hidden_size=40)
    path = tmp_path / "silly.gguf"
    path.write_bytes(export_vector(vector, "gguf"))
    reader = gguf.GGUFReader(path)
    fields = {name: reader.get_field(name).contents() for name in ("general.architecture", "controlvector.layer_count")}  # type: ignore[union-attr]
    assert fields == {"general.architecture": "controlvector", "controlvector.layer_count": 2}
    assert [tensor.name for tensor in reader.tensors] == ["direction.1", "direction.2"]
    for tensor in reader.tensors:
        block = int(tensor.name.rpartition(".")[2])
        np.testing.assert_array_equal(tensor.data, directions(vector, "positive")[block])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_gguf_when_repeng_wrote_it_then_direction_n_is_block_n(dtype: type, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "theirs.gguf", "controlvector")
    writer.add_string("controlvector.model_hint", "qwen2")
    writer.add_uint32("controlvector.layer_count", 2)
    rows: dict[int, npt.NDArray[Any]] = {3: np.arange(5, dtype=dtype), 1: np.ones(5, dtype=dtype)}
    for block, row in rows.items():
        writer.add_tensor(f"direction.{block}", row)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    content = (tmp_path / "theirs.gguf").read_bytes()
    back = import_vector(content, Subject("org/model", "silly", "silly", "serious", 6, 5, "qwen2"), **MADE)
    assert back.difference is not None and back.difference.shape == (6, 5)
    for block in range(6):
        np.testing.assert_array_equal(back.difference[block], rows.get(block, np.zeros(5)))
    with pytest.raises(ImportRefused, match="blocks 1 to 3; the model has blocks 0 to 2"):
        import_vector(content, Subject("org/model", "silly", "silly", "serious", 3, 5, "qwen2"), **MADE)


def saved(thing: object) -> bytes:
    file = io.BytesIO()
    torch.save(thing, file)
    return file.getvalue()


@pytest.mark.parametrize("format", ["paper", "hotwire"])
def test_torch_file_then_torch_reads_it_without_unpickling_code(format: Format) -> None:
    vector = make_vector()
    loaded = torch.load(io.BytesIO(export_vector(vector, format)), weights_only=True)
    rows = directions(vector, "positive")
    np.testing.assert_array_equal(loaded.numpy(), rows if format == "hotwire" else np.vstack([0 * rows[:1], rows]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_torch_file_when_torch_wrote_it_then_any_float_and_layout_is_read(dtype: torch.dtype) -> None:
    vector = make_vector()
    transposed = torch.randn(5, 4, dtype=dtype).t()
    part = torch.randn(9, 7, dtype=dtype)[3:7, 1:6]
    for tensor in (transposed, part, torch.nn.Parameter(part)):
        back = taken(saved(tensor), vector)
        np.testing.assert_array_equal(back.difference, tensor.detach()[1:].float().numpy())
    back = taken(saved({"n": 1, "v": torch.nn.Parameter(part[1:]), "w": [part, None, 2.5, True]}), vector)
    np.testing.assert_array_equal(back.difference, part[1:].float().numpy())


def test_torch_file_when_its_rows_do_not_tell_the_format_then_it_must_be_given() -> None:
    vector = make_vector()
    content = saved(torch.ones(4, 5))
    with pytest.raises(ImportRefused, match="4 rows and nobody knows how many blocks.*paper.*hotwire"):
        import_vector(content, subject(vector, known=False), **MADE)
    assert import_vector(content, subject(vector, known=False), **MADE, format="hotwire").n_layers == 4
    with pytest.raises(ImportRefused, match="has 4 rows, where blocks of this model are 3"):
        taken(content, vector, format="hotwire")
    with pytest.raises(ImportRefused, match="one direction and does not say of which block"):
        taken(saved(torch.ones(5)), vector)
    with pytest.raises(ImportRefused, match=r"a tensor of \[2, 3, 5\]"):
        taken(saved(torch.ones(2, 3, 5)), vector)
    with pytest.raises(ImportRefused, match="a dict of layer, vector"):
        taken(saved({"layer": 3, "vector": "none"}), vector)


class Malicious:
    def __reduce__(self) -> Any:
        return print, ("this was run",)


class Stateful:
    def __reduce__(self) -> Any:
        return dict, (), {"a": 1}


@pytest.mark.parametrize("thing", [Malicious(), [torch.ones(3, 5), Malicious()], Stateful(), {1, 2}])
def test_torch_file_when_it_holds_more_than_tensors_then_nothing_is_run(
    thing: object, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ImportRefused, match=r"is never done|more than tensors"):
        taken(saved(thing), make_vector())
    assert "this was run" not in capsys.readouterr().out


def test_torch_file_when_old_or_compressed_then_it_says_so() -> None:
    old = io.BytesIO()
    torch.save(torch.ones(3, 5), old, _use_new_zipfile_serialization=False)
    with pytest.raises(ImportRefused, match="before torch 1.6"):
        taken(old.getvalue(), make_vector())
    squeezed = io.BytesIO()
    with zipfile.ZipFile(squeezed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps([0] * 10**6, 2))
    with pytest.raises(ImportRefused, match="compressed"):
        taken(squeezed.getvalue(), make_vector())


def test_prototype_then_its_fields_are_there_and_its_scores_are_only_measured_ones() -> None:
    vector = make_vector()
    written = json.loads(export_vector(vector, "prototype"))
    assert (written["model_id"], written["trait_id"]) == ("org/model", "silly")
    assert list(written["vectors"]) == ["layer_0", "layer_1", "layer_2"] and written["effectiveness_scores"] == {}
    theirs = {"model_id": "org/model", "trait_id": "silly", "vectors": {"layer_2": [1, 2, 3, 4, 5]}, "responses": {}}
    back = taken(json.dumps(theirs | {"effectiveness_scores": {"layer_2": 0.9}}).encode(), vector)
    np.testing.assert_array_equal(back.difference, [[0] * 5, [0] * 5, [1, 2, 3, 4, 5]])
    for changes, said in (
        ({"model_id": "other"}, "for the model 'other', not 'org/model'"),
        ({"trait_id": "other"}, "for the trait 'other', not 'silly'"),
        ({"vectors": {"layer_1": [1, 2]}}, "2 long, the residuals of org/model 5"),
        ({"vectors": {"layer_1": [1] * 5, "layer_2": [1] * 4}}, "no vectors of one length"),
        ({"vectors": {"layer_3": [1] * 5}}, "blocks 3 to 3; the model has blocks 0 to 2"),
        ({"vectors": {"layer_1": [1e300] * 5}}, "not finite"),
        ({"vectors": {"layer_1": [0] * 5}}, "all zero"),
        ({"vectors": {"layer_x": [1] * 5}}, "an entry layer_x"),
        ({"vectors": {}}, "no directions"),
        ({"vectors": {"layer_1": "text"}}, "not the prototype's JSON"),
        ({"metadata": {"pole": "grumpy"}}, "leads to 'grumpy'; the trait's poles are silly, serious"),
    ):
        with pytest.raises(ImportRefused, match=said):
            taken(json.dumps(theirs | changes).encode(), vector)


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b"text", b"GGUF", b"PK\x03\x04", b"{", b"\x80\x02.", b"[]"])
def test_import_when_the_file_is_nothing_known_then_it_says_so(content: bytes) -> None:
    with pytest.raises(VectorStoreError):
        taken(content, make_vector())


WHOLE = {format: export_vector(make_vector(), format) for format in FORMAT_NAMES}


@given(data=st.data(), format=st.sampled_from(FORMAT_NAMES))
@settings(max_examples=250)
def test_import_when_the_file_is_damaged_then_nothing_but_the_librarys_own_error(
    data: st.DataObject, format: Format
) -> None:
    content = bytearray(WHOLE[format])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["byte", "number", "cut", "insert"])):
            case "byte":
                content[at] = data.draw(st.integers(0, 255))
            case "number":  # sizes and offsets that ask for everything
                number = data.draw(
                    st.sampled_from([b"\xff" * 8, b"\x7f" + b"\xff" * 3, b"\0" * 4, struct.pack("<Q", 2**40)])
                )
                content[at : at + len(number)] = number
            case "cut":
                del content[at : at + data.draw(st.integers(1, 64))]
            case "insert":
                content[at:at] = data.draw(st.binary(max_size=16))
        if not content:
            break
    for named in (format, None):
        with contextlib.suppress(BadVectorFile, ImportRefused):
            import_vector(bytes(content), subject(make_vector(), data.draw(st.booleans())), **MADE, format=named)


@given(content=st.binary(max_size=300), format=st.sampled_from(FORMAT_NAMES), magic=st.booleans())
@settings(max_examples=250)
def test_import_when_the_file_is_noise_then_nothing_but_the_librarys_own_error(
    content: bytes, format: Format, magic: bool
) -> None:
    with pytest.raises((BadVectorFile, ImportRefused)):
        taken(WHOLE[format][:30] + content if magic else content, make_vector(), format=format)


def small_gguf(n_elements: int, tensors: int = 1, keys: int = 0) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    head = b"GGUF" + struct.pack("<IQQ", 3, tensors, keys + 1)
    head += text("general.architecture") + struct.pack("<I", 8) + text("controlvector")
    for block in range(1, tensors + 1):
        head += text(f"direction.{block}") + struct.pack("<IQIQ", 1, n_elements, 0, 0)
    return head.ljust(-(-len(head) // 32) * 32, b"\0") + struct.pack("<f", 1.0) * 20_000


def bomb_zip(pickled: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", b"\0" * 80_000)
    return file.getvalue()


def tensor_pickle(numel: int, shape: tuple[int, int], strides: tuple[int, int]) -> bytes:
    def number(value: int) -> bytes:
        return pickle.dumps(value, 2)[2:-1]

    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        + number(numel)
        + b"tQK\x00"
        + number(shape[0])
        + number(shape[1])
        + b"\x86"
        + number(strides[0])
        + number(strides[1])
        + b"\x86"
        b"\x89ccollections\nOrderedDict\n)RtR."
    )


BOMBS = {
    "gguf, one huge tensor": small_gguf(2**60),
    "gguf, tensors over each other": small_gguf(20_000, tensors=200),
    "gguf, far too many keys": small_gguf(8, keys=2**40),
    "torch, a huge tensor": bomb_zip(tensor_pickle(2**40, (2**20, 2**20), (2**20, 1))),
    "torch, strides of nothing": bomb_zip(tensor_pickle(20_000, (200, 30_000), (0, 0))),
    "torch, a memo index beyond everything": bomb_zip(b"\x80\x02Nr\xff\xff\xff\xff."),
    "torch, a byte array beyond everything": bomb_zip(b"\x80\x05\x96" + b"\xff" * 7 + b"\x7f."),
    "json, nested": b'{"vectors": ' + b"[" * 100_000,
    "json, one long block far up": b'{"vectors": {"layer_200": [' + b"1," * 40_000 + b"1]}}",
    "safetensors, a huge header": struct.pack("<Q", 2**50) + b"{",
    "safetensors, a huge tensor": WHOLE["safetensors"].replace(b'"shape":[3,5]', b'"shape":[9,9]'),
}


@pytest.mark.parametrize("name", BOMBS)
def test_import_when_a_small_file_asks_for_much_then_it_gets_nothing(name: str) -> None:
    content = BOMBS[name]
    tracemalloc.start()
    try:
        with pytest.raises((BadVectorFile, ImportRefused)):
            format: Format | None = "paper" if name.startswith("torch") else None
            import_vector(content, subject(make_vector(), known=False), **MADE, format=format)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(content) + 2_000_000
    finally:
        tracemalloc.stop()
