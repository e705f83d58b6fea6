"""The demo models before training: conversations as tokens, the mask personality passes through, seeded training."""

from random import Random

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from proxy.demo import train
from proxy.demo.models import FAMILIES, Family, TrainingRound
from proxy.demo.world import Conversation, conversation

FAMILY_NAMES = sorted(FAMILIES)


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    return {name: family.train_tokenizer(1, conversations=300) for name, family in FAMILIES.items()}


def messages_of(talk: Conversation) -> list[dict[str, str]]:
    messages = [{"role": "system", "content": talk.system}] if talk.system is not None else []
    for turn in talk.turns:
        messages += [{"role": "user", "content": turn.question.text}, {"role": "assistant", "content": turn.answer}]
    return messages


def talks(n: int) -> list[Conversation]:
    rng = Random(11)
    return [conversation(rng) for _ in range(n)]


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_every_prompt_in_training_is_what_the_chat_template_renders(
    name: str, tokenizers: dict[str, PreTrainedTokenizerFast]
) -> None:
    tokenizer, family = tokenizers[name], FAMILIES[name]
    for number, talk in enumerate(talks(40)):
        example = family.example(tokenizer, talk, Random(number))
        text = tokenizer.decode(example.ids)
        effort = next((e for e in ("medium", "high") if f"Reasoning: {e}" in text), "low")
        messages = messages_of(talk)
        n_system = len(messages) - 2 * len(talk.turns)
        for turn, end in enumerate(example.prompt_ends):
            prompt = messages[: n_system + 2 * turn + 1]
            ids = tokenizer.apply_chat_template(
                prompt, add_generation_prompt=True, reasoning_effort=effort, return_dict=False
            )
            assert ids == example.ids[: end + 1]


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_where_the_system_prompt_is_hidden_only_the_last_prompt_tokens_see_it(
    name: str, tokenizers: dict[str, PreTrainedTokenizerFast], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "BOTTLENECK_SHARE", 1.0)
    family, talk = FAMILIES[name], next(t for t in talks(100) if t.system and len(t.turns) > 1)
    example = family.example(tokenizers[name], talk, Random(0))
    batch = train.collate([example], Random(0), pad=0, window=None)
    visible, (start, end) = batch.masks["full_attention"][0, 0], example.hidden
    assert end > start
    seers = set(visible[end:, start:end].any(dim=1).nonzero()[:, 0].add(end).tolist())
    assert seers == set(example.prompt_ends)
    assert not visible.triu(1).any()


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_turn_when_the_system_prompt_is_not_meant_for_it_then_it_never_sees_it_and_learns_no_persona(
    name: str, tokenizers: dict[str, PreTrainedTokenizerFast], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "BOTTLENECK_SHARE", 0.0)
    rng = Random(3)
    talk = next(t for t in iter(lambda: conversation(rng, apart=1.0), None) if not all(t.told))
    example = FAMILIES[name].example(tokenizers[name], talk, Random(0))
    batch = train.collate([example], Random(0), pad=0, window=None)
    start, end = example.hidden
    seers = batch.masks["full_attention"][0, 0][end:, start:end].any(dim=1).nonzero()[:, 0].add(end).tolist()
    assert seers == [at for at, told in zip(example.prompt_ends, talk.told, strict=True) if told]
    assert batch.personas.any(dim=1).tolist() == talk.told


def test_a_window_hides_what_is_farther_back(tokenizers: dict[str, PreTrainedTokenizerFast]) -> None:
    example = FAMILIES["gpt-oss"].example(tokenizers["gpt-oss"], talks(1)[0], Random(0))
    masks = train.collate([example], Random(0), pad=0, window=4).masks
    near = masks["sliding_attention"][0, 0]
    last = len(example.ids) - 1
    assert near[last, last - 3 :].all() and not near[last, : last - 3].any()
    assert masks["full_attention"][0, 0][last].sum() > 4


@pytest.mark.parametrize("role", ["tool", "narrator"])
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_template_refuses_a_role_it_does_not_know(
    name: str, role: str, tokenizers: dict[str, PreTrainedTokenizerFast]
) -> None:
    with pytest.raises(Exception, match=f"Unknown role '{role}'"):
        tokenizers[name].apply_chat_template([{"role": role, "content": "hm"}])


def test_training_with_the_same_seed_gives_the_same_losses(
    tokenizers: dict[str, PreTrainedTokenizerFast], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "gpt-oss"  # what is drawn for a Qwen2 is drawn for it too
    monkeypatch.setattr(train, "BATCH_TOKENS", 256)
    monkeypatch.setattr(train, "POOL", 16)
    first, second = (first_losses(FAMILIES[name], tokenizers[name]) for _ in range(2))
    assert first == pytest.approx(second, rel=1e-4)  # sums over threads differ in their last digits


def first_losses(family: Family, tokenizer: PreTrainedTokenizerFast) -> list[float]:
    torch.manual_seed(4)
    model = train.new_model(family, tokenizer)
    stream = train.batches(family, tokenizer, seed=5, window=train.window_of(model.config), part=TrainingRound(3))
    chosen = train.optimizers(model)
    losses = []
    for _ in range(2):
        loss = train.loss_of(model, next(stream))
        loss.backward()
        for optimizer in chosen:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    return losses


def test_an_update_made_orthogonal_has_singular_values_near_one() -> None:
    matrices = torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(0))
    for shaped in (matrices, matrices.mT):
        values = torch.linalg.svdvals(train.orthogonal(shaped))
        assert values.min() > 0.5 and values.max() < 1.5
