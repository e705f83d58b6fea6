"""A GGUF file in transformers: what it is, and in one line what is wrong with one that would be read wrongly or not."""

from pathlib import Path
from typing import Any

import gguf
import pytest

from proxy.demo import gguf as exporter
from proxy.engines.gguf.file import GgufFile, file_fingerprint
from proxy.engines.registry import load_engine
from proxy.engines.transformers.engine import TransformersEngine
from proxy.errors import SetupError
from proxy.settings import ModelSettings
from tests.engines.tiny_models import save_tiny_model


def load(file: Path) -> TransformersEngine:
    engine = load_engine(ModelSettings("tiny", str(file)), 4)
    assert isinstance(engine, TransformersEngine)
    return engine


def exported(models_folder: Path, file: Path, family: str = "qwen2") -> Path:
    exporter.export(save_tiny_model(family, models_folder / family), file, "float32")
    return file


def refusal(file: Path) -> str:
    """What is said of a file that can't be loaded, in one line that names it."""
    with pytest.raises(SetupError) as caught:
        load(file)
    said = caught.value.message
    assert str(file) in said and "\n" not in said
    return said


def test_a_file_when_loaded_then_says_what_it_is(models_folder: Path, tmp_path: Path) -> None:
    file = exported(models_folder, tmp_path / "tiny.gguf")
    engine = load(file)
    info = engine.info
    engine.close()
    assert (info.engine, info.dtype, info.family) == ("transformers", "float32", "qwen2")
    assert (info.n_layers, info.hidden_size, info.context_length) == (4, 32, 2048)
    assert info.fingerprint == file_fingerprint(file)


def test_a_file_when_broken_then_one_line_says_how(models_folder: Path, tmp_path: Path) -> None:
    whole = exported(models_folder, tmp_path / "whole.gguf").read_bytes()
    header = GgufFile(tmp_path / "whole.gguf").header_bytes
    broken = tmp_path / "broken.gguf"
    assert "there is no such file" in refusal(tmp_path / "gone.gguf")
    for content, expected in (
        (b"text", "is no GGUF file"),
        (whole[:10], "is cut off or broken"),
        (whole[: header // 2], "is cut off or broken"),
        (whole[:-100_000], "is cut off: it ends before its weights do"),
    ):
        broken.write_bytes(content)
        assert expected in refusal(broken)


@pytest.mark.parametrize(
    ("method", "argument", "expected"),
    [
        ("add_chat_template", None, "no chat template"),
        ("add_tokenizer_pre", "brand-new", "its way to cut words, 'brand-new', is known to llama.cpp alone"),
        ("add_tokenizer_model", "llama", "its tokenizer 'llama' is known to llama.cpp alone"),
        ("add_token_merges", ["\u0120a qqq"], "a merge makes no token"),
    ],
)
def test_a_file_when_its_tokenizer_can_t_be_told_then_it_is_refused(
    method: str, argument: Any, expected: str, models_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = getattr(gguf.GGUFWriter, method)

    def other(writer: gguf.GGUFWriter, value: Any) -> None:
        if argument is not None:
            written(writer, argument)

    monkeypatch.setattr(gguf.GGUFWriter, method, other)
    assert expected in refusal(exported(models_folder, tmp_path / "tiny.gguf"))


def test_a_file_when_transformers_can_t_read_its_kind_then_llama_cpp_is_named(
    models_folder: Path, tmp_path: Path
) -> None:
    assert "architecture 'gpt-oss'" in refusal(exported(models_folder, tmp_path / "tiny.gguf", "gpt-oss"))
    file = tmp_path / "new.gguf"
    writer = gguf.GGUFWriter(file, "brand-new")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    said = refusal(file)
    assert "architecture 'brand-new'" in said and "pip install 'persona-steering-proxy[llama-cpp]'" in said


def test_a_file_when_its_positions_are_scaled_then_it_is_refused(
    models_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = gguf.GGUFWriter.add_rope_freq_base

    def scaled(writer: gguf.GGUFWriter, value: float) -> None:
        base(writer, value)
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)

    monkeypatch.setattr(gguf.GGUFWriter, "add_rope_freq_base", scaled)
    assert "how its positions are scaled" in refusal(exported(models_folder, tmp_path / "tiny.gguf"))


def test_memory_when_there_is_too_little_then_says_how_much_is_needed(
    models_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = exported(models_folder, tmp_path / "tiny.gguf")
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    said = refusal(file)
    assert "GiB of memory in transformers, which keeps no quantised weights" in said and "llama.cpp may run it" in said
