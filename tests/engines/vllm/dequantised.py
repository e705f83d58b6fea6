"""A GGUF file as a folder in full precision: vLLM runs folders."""

from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer


def write_folder(file: Path, folder: Path) -> None:
    """The file's model and tokenizer, as transformers reads them."""
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    delattr(model, "hf_quantizer")  # it is dequantised, and would not be saved as what it was
    del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
