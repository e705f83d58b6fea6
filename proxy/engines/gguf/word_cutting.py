"""How a GGUF file's text is cut into words before bytes are merged, and which texts llama.cpp can't cut.

For some pre-tokenizers it has code of its own. The others are regular expressions for C++'s std::regex, which calls
itself once a character of a match: a run of some 28,000 letters, or spaces, ends the process. Such a run is found here
before llama.cpp sees it. Knows nothing of models or tokens.
"""

import re
from dataclasses import dataclass

LONGEST_RUN = 1000  # characters; a match may take two runs, and some 300 bytes of stack for each of their characters

# Cut by code that does not call itself, whatever the length.
_NAMES = (
    "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano dbrx smaug-bpe chatglm-bpe glm4 "
    "glm5 gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert jina-v1-en "
    "jina-v2-code roberta-bpe exaone4 mpt olmo jais trillion granite-docling starcoder refact command-r smollm "
    "codeshell exaone minerva-7b mellum2 qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open "
    "grok-2 qwen35 kimi-k2 laguna gemma4 granite-embed-multi-311m sarvam-moe"
)
_OWN_CODE = frozenset(_NAMES.split())

_RUN = re.compile(rf"\S{{{LONGEST_RUN}}}|\s{{{LONGEST_RUN}}}")
_RUN_OF_WORDS = re.compile(rf"{_RUN.pattern}|[\w\s]{{{LONGEST_RUN}}}")  # what one match of exaone-moe's takes

_SUFFIX = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
_CONTRACTION = rf"(?:{_SUFFIX})?"
_UPPER, _LOWER = r"(?:(?=\p{L})[^a-z])", r"(?:(?=\p{L})[^A-Z])"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _cased(ending: str, digits: str) -> str:
    """Words from their letters' case, as OpenAI's later tokenizers cut them."""
    before = r"[^\r\n\p{L}\p{N}]?"
    return rf"{before}{_UPPER}*{_LOWER}+{ending}|{before}{_UPPER}+{_LOWER}*{ending}|\p{{N}}{digits}|{_REST}"


def _caseless(digits: str) -> str:
    """Words of letters whatever their case, as Llama 3 and Qwen cut them."""
    letters, others = r"[^\r\n\p{L}\p{N}]?\p{L}+", r" ?[^\s\p{L}\p{N}]+[\r\n]*"
    return rf"{_SUFFIX}|{letters}|\p{{N}}{digits}|{others}|\s*[\r\n]+|\s+(?!\S)|\s+"


_LLAMA_3 = (_caseless("{1,3}"),)
_GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_GPT_4O = (_cased(_CONTRACTION, "{1,3}"),)
_DEEPSEEK = (
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
)


@dataclass(frozen=True)
class WordCutting:
    """One file's pre-tokenizer, by the name it has there. `patterns` cut a text as llama.cpp does, one after another;
    None where that is not known. `whole_words`: a word that is a token is not put together from its bytes."""

    name: str
    patterns: tuple[str, ...] | None = None
    whole_words: bool = False

    def too_long(self, text: str) -> bool:
        """Whether llama.cpp may run out of stack over it."""
        if self.name in _OWN_CODE or len(text) < LONGEST_RUN:
            return False
        run = _RUN_OF_WORDS if self.name == "exaone-moe" else _RUN
        return run.search(text) is not None


_KNOWN = {
    **{name: WordCutting(name, _GPT_4O) for name in ("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2")},
    **{name: WordCutting(name, _DEEPSEEK) for name in ("deepseek-v3", "hunyuan-dense", "hy_v4", "joyai-llm")},
    **{
        name: WordCutting(name, (_caseless("{1,3}"),), whole_words=True) for name in ("llama3", "llama-v3", "llama-bpe")
    },
    "gpt-2": WordCutting("gpt-2", (_GPT_2,)),
    "qwen2": WordCutting("qwen2", (_caseless(""),)),
    "smollm": WordCutting("smollm", (r"\p{N}", _GPT_2)),
    "tekken": WordCutting("tekken", (_cased("", ""),), whole_words=True),
}


def word_cutting(name: str) -> WordCutting:
    """Of the pre-tokenizer that a file names."""
    return _KNOWN.get(name, WordCutting(name))
