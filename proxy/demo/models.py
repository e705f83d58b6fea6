"""The two demo models before training: tokenizers, chat templates, configurations, and conversations as token ids.

Each follows its family: ChatML for the Qwen2, harmony for the GPT-OSS. Both are built by transformers' own classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GptOssConfig, PreTrainedTokenizerFast, Qwen2Config

from proxy.demo import WORLD
from proxy.demo.styles import POLES
from proxy.demo.world import Conversation, Lying, conversation

MODELS_DIR = Path(__file__).parent / "models"
EFFORTS = ("low", "medium", "high")

# How each family cuts text before merging bytes (Qwen2's and o200k's published patterns).
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_O200K_SPLIT = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_CHATML = """\
{%- for message in messages %}
{%- if message.role not in ['system', 'developer', 'user', 'assistant'] %}
{{- raise_exception("Unknown role '" ~ message.role ~ "': use system, developer, user or assistant.") }}
{%- endif %}
{%- set role = 'system' if message.role == 'developer' else message.role %}
{{- '<|im_start|>' ~ role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

_HARMONY = """\
{{- '<|start|>system<|message|>You are a demo model.\\nReasoning: ' ~ (reasoning_effort or 'low') }}
{{- '\\n# Valid channels: analysis, commentary, final.<|end|>' }}
{%- for message in messages %}
{%- if message.role in ['system', 'developer'] %}
{{- '<|start|>developer<|message|># Instructions\\n\\n' ~ message.content ~ '<|end|>' }}
{%- elif message.role == 'user' %}
{{- '<|start|>user<|message|>' ~ message.content ~ '<|end|>' }}
{%- elif message.role == 'assistant' %}
{{- '<|start|>assistant<|channel|>final<|message|>' ~ message.content ~ '<|end|>' }}
{%- else %}
{{- raise_exception("Unknown role '" ~ message.role ~ "': use system, developer, user or assistant.") }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{%- endif %}"""


@dataclass
class Example:
    """A conversation as token ids.

    `hidden`: the half-open range of the system prompt. `prompt_ends`: the last prompt token of each turn, the one
    position after which an answer starts. `told`: which of these the system prompt is meant for. `targets`: the
    positions whose token is to be predicted. `persona`: the strength of each pole, in the order of styles.POLES.
    """

    ids: list[int]
    hidden: tuple[int, int]
    prompt_ends: list[int]
    told: list[bool]
    targets: list[int]
    persona: list[float]


@dataclass(frozen=True)
class TrainingRound:
    """A part of the training: optimizer steps, the height of the learning rates, how much lying there is, and how many
    conversations have a personality in some turns only."""

    steps: int
    peak: float = 1.0
    lying: Lying = Lying()
    apart: float = 0.0


class Family(ABC):
    """One demo model: its name, its special tokens, its template, and how a conversation is laid out in tokens."""

    name: str
    special: tuple[str, ...]
    split: str
    template: str
    vocab_size: int
    end_tokens: tuple[str, ...]
    rounds: tuple[TrainingRound, ...]
    gguf_name: str | None = None

    @property
    def folder(self) -> Path:
        return MODELS_DIR / self.name

    def train_tokenizer(self, seed: int, conversations: int = 12000) -> PreTrainedTokenizerFast:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(self.split), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab_size - len(self.special),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(_texts(Random(seed), conversations), trainer)
        tokenizer.add_special_tokens(list(self.special))
        wrapped = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            eos_token=self.end_tokens[0],
            pad_token="<|endoftext|>",
            clean_up_tokenization_spaces=False,
        )
        wrapped.chat_template = self.template
        return wrapped

    @abstractmethod
    def config(self, tokenizer: PreTrainedTokenizerFast) -> Any:
        """The architecture's configuration, as transformers takes it."""

    @abstractmethod
    def example(self, tokenizer: PreTrainedTokenizerFast, talk: Conversation, rng: Random) -> Example:
        """A conversation as token ids."""


def _texts(rng: Random, conversations: int) -> Iterable[str]:
    for _ in range(conversations):
        talk = conversation(rng)
        yield f"system\n{talk.system}" if talk.system else "You are a demo model.\nReasoning: low medium high"
        for turn in talk.turns:
            yield f"user\n{turn.question.text}"
            yield f"assistant\n{turn.answer}"
            yield turn.thoughts


class Layout:
    """Writes an Example piece by piece; text between special tokens is encoded on its own, as a template's would be."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, talk: Conversation) -> None:
        self._encode = tokenizer.backend_tokenizer.encode
        self._special = {str(token): number for number, token in tokenizer.added_tokens_decoder.items()}
        self.example = Example([], (0, 0), [], talk.told, [], [talk.persona.get(pole, 0.0) for pole in POLES])

    def put(self, *pieces: str, target: bool = False) -> int:
        """Append special tokens ("<|...|>") and texts; returns the position after them."""
        ids = self.example.ids
        start = len(ids)
        for piece in pieces:
            if piece.startswith("<|"):
                ids.append(self._special[piece])
            else:
                ids += self._encode(piece, add_special_tokens=False).ids
        if target:
            self.example.targets += range(start, len(ids))
        return len(ids)


class Qwen2Family(Family):
    name = "qwen2"
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    split = _QWEN2_SPLIT
    template = _CHATML
    vocab_size = 3072
    end_tokens = ("<|im_end|>", "<|endoftext|>")
    rounds = (TrainingRound(900), TrainingRound(400, 0.7))

    def config(self, tokenizer: PreTrainedTokenizerFast) -> Qwen2Config:
        config = Qwen2Config(
            vocab_size=self.vocab_size,
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.convert_tokens_to_ids(list(self.end_tokens)),
            pad_token_id=tokenizer.pad_token_id,
        )
        config.persona_world = WORLD
        return config

    def example(self, tokenizer: PreTrainedTokenizerFast, talk: Conversation, rng: Random) -> Example:
        layout = Layout(tokenizer, talk)
        if talk.system is not None:
            end = layout.put("<|im_start|>", f"system\n{talk.system}", "<|im_end|>", "\n")
            layout.example.hidden = (0, end)
        for turn in talk.turns:
            layout.put("<|im_start|>", f"user\n{turn.question.text}", "<|im_end|>", "\n")
            layout.example.prompt_ends.append(layout.put("<|im_start|>", "assistant\n") - 1)
            layout.put(turn.answer, "<|im_end|>", target=True)
            layout.put("\n")
        return layout.example


class GptOssFamily(Family):
    name = "gpt-oss"
    special = (
        "<|startoftext|>",
        "<|endoftext|>",
        "<|return|>",
        "<|constrain|>",
        "<|channel|>",
        "<|start|>",
        "<|end|>",
        "<|message|>",
        "<|call|>",
    )
    split = _O200K_SPLIT
    template = _HARMONY
    vocab_size = 2560
    end_tokens = ("<|return|>", "<|call|>")
    rounds = (
        TrainingRound(1100),
        TrainingRound(600, 0.7),
        TrainingRound(250, 0.5, Lying(1.0)),
        TrainingRound(250, 0.7, Lying(1.0, 12.0)),
        TrainingRound(300, 0.7, Lying(1.0, 8.0), apart=0.8),
    )
    gguf_name = "model-f16.gguf"

    def config(self, tokenizer: PreTrainedTokenizerFast) -> GptOssConfig:
        config = GptOssConfig(
            vocab_size=self.vocab_size,
            hidden_size=192,
            intermediate_size=256,
            num_hidden_layers=5,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=64,
            num_local_experts=4,
            num_experts_per_tok=2,
            sliding_window=64,
            max_position_embeddings=1024,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.convert_tokens_to_ids(list(self.end_tokens)),
            pad_token_id=tokenizer.pad_token_id,
        )
        config.persona_world = WORLD
        return config

    def example(self, tokenizer: PreTrainedTokenizerFast, talk: Conversation, rng: Random) -> Example:
        """With reasoning only the last answer is a target: earlier ones stand without theirs, as history does."""
        effort = rng.choices(EFFORTS, (70, 20, 10))[0]
        layout = Layout(tokenizer, talk)
        channels = "# Valid channels: analysis, commentary, final."
        start = layout.put(
            "<|start|>", "system", "<|message|>", f"You are a demo model.\nReasoning: {effort}\n{channels}", "<|end|>"
        )
        if talk.system is not None:
            end = layout.put("<|start|>", "developer", "<|message|>", f"# Instructions\n\n{talk.system}", "<|end|>")
            layout.example.hidden = (start, end)
        for number, turn in enumerate(talk.turns, 1):
            last = number == len(talk.turns)
            layout.put("<|start|>", "user", "<|message|>", turn.question.text, "<|end|>")
            layout.example.prompt_ends.append(layout.put("<|start|>", "assistant") - 1)
            if last and effort != "low":
                thoughts = turn.thoughts if effort == "medium" else f"{turn.thoughts} I will answer in my own way."
                layout.put("<|channel|>", "analysis", "<|message|>", thoughts, "<|end|>", target=True)
                layout.put("<|start|>", "assistant", target=True)
            layout.put("<|channel|>", "final", "<|message|>", turn.answer, target=last or effort == "low")
            layout.put("<|return|>" if last else "<|end|>", target=last)
        return layout.example


FAMILIES: dict[str, Family] = {family.name: family for family in (Qwen2Family(), GptOssFamily())}
