"""What is wrong with a GGUF file is said in one line; what is right with it is what the transformers engine has."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from proxy.engines.gguf.file import file_fingerprint
from proxy.engines.registry import load_engine
from proxy.engines.text.speech import Speaker
from proxy.errors import SetupError
from proxy.settings import ModelSettings, model_settings
from tests.engines.llama_cpp.models import FAMILIES, LoadLlama, export_tiny, load_tiny

pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")

import gguf  # noqa: E402

from proxy.demo import gguf as exporter  # noqa: E402
from proxy.demo.models import FAMILIES as DEMO_FAMILIES  # noqa: E402
from proxy.engines.llama_cpp.model import DEFAULT_CONTEXT_LENGTH, LlamaModel, context_length  # noqa: E402
from proxy.engines.llama_cpp.vocabulary import Vocabulary  # noqa: E402

NOT_INSTALLED = """
import sys
sys.modules["llama_cpp"] = None
from proxy.engines.registry import load_engine
from proxy.errors import SetupError
from proxy.settings import ModelSettings
try:
    load_engine(ModelSettings("any", sys.argv[1], engine="llama_cpp"), 4)
except SetupError as error:
    print(error)
"""


@pytest.fixture
def file(models_folder: Path, tmp_path: Path) -> Path:
    return export_tiny("qwen2", models_folder / "qwen2", tmp_path / "tiny.gguf")


def written(file: Path, architecture: str, **metadata: str) -> Path:
    """A file with no weights in it."""
    writer = gguf.GGUFWriter(file, architecture)
    for key, value in metadata.items():
        writer.add_string(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_when_loaded_then_says_what_it_is(family: str, llama_of: LoadLlama) -> None:
    info = llama_of(family).info
    assert (info.family, info.engine, info.dtype) == (family, "llama_cpp", "all F32")
    assert (info.n_layers, info.hidden_size, info.context_length, info.world) == (4, 32, 2048, None)


def test_a_file_when_it_can_t_be_used_then_the_error_says_why(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = tmp_path / "text.gguf"
    text.write_text("not a model")
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    empty = tmp_path / "empty.gguf"
    empty.write_bytes(b"")
    new = written(tmp_path / "new.gguf", "brand-new")
    caplog.clear()  # what wrote it may have told of that
    for wrong, reason in (
        (tmp_path / "gone.gguf", "no such file"),
        (tmp_path, "no such file"),
        (text, "no GGUF file"),
        (empty, "no GGUF file"),
        (cut, "can't be loaded"),
        (new, "unknown model architecture: 'brand-new'"),
    ):
        with pytest.raises(SetupError, match=reason) as caught:
            load_tiny(wrong)
        assert str(wrong) in str(caught.value) and "\n" not in str(caught.value)
    assert not caplog.records  # nothing but the error tells of it


def test_a_template_when_there_is_none_then_the_error_says_so(models_folder: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf.GGUFWriter, "add_chat_template", lambda *args: None)
        file = export_tiny("qwen2", models_folder / "qwen2", tmp_path / "mute.gguf")
    with pytest.raises(SetupError, match="no chat template"):
        load_tiny(file)


def test_memory_when_there_is_too_little_then_the_error_says_so(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from proxy.engines.llama_cpp.library import llama

    with monkeypatch.context() as patch:
        patch.setattr("os.sysconf", lambda name: 100)
        with pytest.raises(SetupError, match="GiB of memory"):
            load_tiny(file)
    monkeypatch.setattr(llama, "llama_init_from_model", lambda *args: None)
    with pytest.raises(SetupError, match="smaller context_length"):
        load_tiny(file)


def test_a_device_when_not_there_then_the_error_says_so(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from proxy.engines.llama_cpp.library import llama

    monkeypatch.setattr(llama, "llama_supports_gpu_offload", lambda: False)
    with pytest.raises(SetupError, match="device cuda"):
        load_engine(ModelSettings("tiny", str(file), engine="llama_cpp", device="cuda"), 4)


def test_the_extra_when_not_installed_then_the_error_says_how_to(file: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", NOT_INSTALLED, str(file)], capture_output=True, text=True, timeout=60, check=True
    )
    assert "pip install 'persona-steering-proxy[llama-cpp]'" in said.stdout and not said.stderr


def test_the_context_when_set_then_may_be_shorter_but_not_longer_than_the_model_s() -> None:
    assert context_length(2048, None) == 2048 and context_length(2048, 100) == 100
    assert context_length(131072, None) == DEFAULT_CONTEXT_LENGTH and context_length(131072, 100000) == 100000
    with pytest.raises(SetupError, match="2048"):
        context_length(2048, 2049)


def test_the_fingerprint_when_a_weight_changes_then_does_too(file: Path) -> None:
    before = file_fingerprint(file)
    assert before == file_fingerprint(file)
    changed = bytearray(file.read_bytes())
    changed[-5000] ^= 1
    file.write_bytes(changed)
    assert file_fingerprint(file) != before


def test_a_source_when_a_gguf_file_then_llama_cpp_runs_it(file: Path) -> None:
    assert model_settings(str(file)) == ModelSettings("tiny", str(file), engine="llama_cpp")
    assert model_settings(f"mine={file}").id == "mine"
    with pytest.raises(SetupError, match="no such GGUF file"):
        model_settings("nowhere/model.gguf")


def test_errors_of_llama_cpp_when_reported_then_are_in_our_log_and_its_chatter_is_not(
    file: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    from proxy.engines.llama_cpp import library

    load_tiny(file).close()
    assert capfd.readouterr() == ("", "") and not caplog.records
    library._log(library._ERROR, b"something broke\n", None)
    assert [(r.levelno, r.message) for r in caplog.records] == [(logging.ERROR, "llama.cpp: something broke")]


class TestText:
    """The demo models' own tokenizers say what is right."""

    @pytest.fixture(params=sorted(DEMO_FAMILIES))
    def both(self, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Vocabulary]:
        folder = DEMO_FAMILIES[request.param].folder
        exporter.export(folder, tmp_path / "demo.gguf")
        return AutoTokenizer.from_pretrained(folder), Vocabulary(
            LlamaModel(tmp_path / "demo.gguf", vocabulary_only=True)
        )

    TALK = [
        {"role": "system", "content": "Be silly.\n\n"},
        {"role": "user", "content": "What's 1234 + 5, né 🙂?  Two  spaces"},
        {"role": "assistant", "content": "Who knows?"},
        {"role": "user", "content": "<|nothing|>"},
    ]

    def test_a_conversation_when_rendered_then_has_the_ids_of_transformers(self, both: tuple[Any, Vocabulary]) -> None:
        tokenizer, vocabulary = both
        for extra in ({}, {"reasoning_effort": "high"}):
            expected = tokenizer.apply_chat_template(self.TALK, add_generation_prompt=True, return_dict=False, **extra)
            assert vocabulary.tokenize(vocabulary.write(self.TALK, None, **extra)) == expected

    def test_plain_text_when_it_looks_like_a_marker_then_it_is_text(self, both: tuple[Any, Vocabulary]) -> None:
        tokenizer, vocabulary = both
        for text in ("<|end|>", "a <|im_end|> b<|channel|>final<|message|> <|start|>", "<|nothing|> |>", "plain", ""):
            expected = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
            assert vocabulary.encode(text) == expected
            assert vocabulary.decode(expected) == text

    def test_ids_when_decoded_then_are_the_text_of_transformers(self, both: tuple[Any, Vocabulary]) -> None:
        tokenizer, vocabulary = both
        ids = vocabulary.tokenize(vocabulary.write(self.TALK, None))
        assert vocabulary.decode(ids) == tokenizer.decode(ids)
        for piece in (ids, ids[:-3], ids[30:60]):
            expected = tokenizer.decode(piece, skip_special_tokens=True)
            assert vocabulary.decode(piece, skip_special_tokens=True) == expected

    def test_a_speaker_when_made_of_the_file_then_ends_and_speaks_as_transformers_does(
        self, both: tuple[Any, Vocabulary]
    ) -> None:
        tokenizer, vocabulary = both
        ours, theirs = Speaker(vocabulary, vocabulary.end_ids), Speaker(tokenizer, [])
        assert theirs.stops <= ours.stops
        text = "<|channel|>analysis<|message|>Hm é<|end|><|start|>assistant<|channel|>final<|message|>Ja 🙂!"
        ids = tokenizer.encode(text, add_special_tokens=False)
        mine, yours = ours.speech([]), theirs.speech([])
        assert [mine.add(id_) for id_ in ids] == [yours.add(id_) for id_ in ids]
