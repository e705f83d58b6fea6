"""A misspelt field of ours is known for what it is meant to be, and no field of OpenAI's is ever taken for one."""

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params

from proxy.chat.misspelt import OURS, edits, meant
from proxy.protocol.chat import ChatRequest

LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Of other servers of the same contract, and of front-ends.
ELSEWHERES = """
    best_of chat_id chat_template_kwargs echo guided_choice guided_json ignore_eos input_audio include_reasoning
    length_penalty min_p min_tokens mirostat model_id num_ctx options person_id preset prompt_logprobs provider
    repetition_penalty session_id skip_special_tokens stop_token_ids structured_outputs system template think
    thinking title_generation tfs_z tool_servers top_a top_k transforms typical_p variables string strings personality
"""


@pytest.mark.parametrize(
    ("field", "ours"),
    [
        ("persona_", "persona"),
        ("personas", "persona"),
        ("Persona", "persona"),
        ("X-Persona", "persona"),
        ("pérsona", "persona"),
        ("presona", "persona"),
        ("coeficient", "coefficient"),
        ("coefficients", "coefficient"),
        ("coeff", "coefficient"),
        ("Steering", "steering"),
        ("steer", "steering"),
        ("stearing", "steering"),
        ("coeficent", "coefficient"),
    ],
)
def test_a_field_when_nearly_one_of_ours_then_that_is_meant(field: str, ours: str) -> None:
    assert meant(field) == ours


@st.composite
def one_edit(draw: st.DrawFn) -> tuple[str, str]:
    """One of our fields, and the same with one letter put in, left out, changed or swapped with the next."""
    ours = draw(st.sampled_from(OURS))
    at, letter = draw(st.integers(0, len(ours) - 2)), draw(st.sampled_from(LETTERS + "_-1"))
    before, after = ours[:at], ours[at:]
    kinds = [before + letter + after, before + after[1:], before + letter + after[1:]]
    return ours, draw(st.sampled_from([*kinds, before + after[1] + after[0] + after[2:]]))


@given(one_edit(), st.sampled_from([str.upper, str.title, str.lower]))
def test_any_single_slip_then_is_seen(slip: tuple[str, str], case: typing.Callable[[str], str]) -> None:
    ours, field = slip
    assert meant(case(field)) == ours


def sdk_fields() -> set[str]:
    """Every parameter of the endpoints whose bodies this server reads, or will."""
    structs = (
        chat_create_params.CompletionCreateParamsNonStreaming,
        chat_create_params.CompletionCreateParamsStreaming,
        completion_create_params.CompletionCreateParamsNonStreaming,
        completion_create_params.CompletionCreateParamsStreaming,
        response_create_params.ResponseCreateParamsNonStreaming,
        response_create_params.ResponseCreateParamsStreaming,
        embedding_create_params.EmbeddingCreateParams,
    )
    return {name for struct in structs for name in typing.get_type_hints(struct)}


def test_a_field_of_openais_or_of_other_servers_then_is_never_taken_for_ours() -> None:
    fields = sdk_fields()
    assert len(fields) > 50 and {"messages", "input", "prompt", "stream", "encoding_format"} <= fields
    others = {*fields, *ELSEWHERES.split(), *ChatRequest.__struct_fields__} - {*OURS}
    assert {field: ours for field in others if (ours := meant(field))} == {}


@given(st.text())
def test_any_text_then_is_one_of_ours_or_nothing(field: str) -> None:
    assert meant(field) in (None, *OURS)


@given(st.text(LETTERS, max_size=9), st.text(LETTERS, max_size=9))
def test_edits_then_are_those_of_a_distance(one: str, other: str) -> None:
    count = edits(one, other)
    assert count == edits(other, one) and (count == 0) == (one == other)
    assert abs(len(one) - len(other)) <= count <= max(len(one), len(other))
