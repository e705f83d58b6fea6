"""What a client is told of how it was steered names every vector that took part, once, and whose it is."""

import dataclasses

from proxy.chat.report import activation_report, prompt_report, sampling_report, sampling_use
from proxy.engines.base import Sampling
from proxy.protocol.steering import SamplingUse
from proxy.steering.options import PlanReport
from vector_store import VectorHeader

OWN = VectorHeader(
    model_id="tiny",
    fingerprint="f",
    trait="silly",
    positive="silly",
    negative="serious",
    n_layers=2,
    hidden_size=2,
    created="",
    software_version="",
    method="",
    id="v-tiny",
)
FOREIGN = dataclasses.replace(OWN, model_id="other", id="v-other", origin="transferred")
PERSONAS = {"silly": 1.0, "serious": 0.5}


def test_activation_then_what_the_plan_does_is_told_as_it_is() -> None:
    done = PlanReport("response", ("final",), (1, 3), 0.4, clamped=True, beyond_measured_range=False)
    report = activation_report(PERSONAS, "add", done, [OWN, OWN, FOREIGN])
    assert (report.method, report.mode, report.personas) == ("activation", "add", PERSONAS)
    assert (report.positions, report.channels, report.layers) == ("response", ["final"], [1, 3])
    assert (report.relative_dose, report.clamped, report.beyond_measured_range) == (0.4, True, False)
    assert [(use.id, use.origin) for use in report.vectors] == [("v-tiny", "native"), ("v-other", "transferred")]


def test_sampling_then_vectors_of_other_models_say_so() -> None:
    report = sampling_report(PERSONAS, [OWN, OWN, FOREIGN], "tiny")
    assert (report.method, report.layers, report.relative_dose) == ("sampling", [], 0.0)
    assert [(use.id, use.model) for use in report.vectors] == [("v-tiny", None), ("v-other", "other")]


def test_prompt_then_nothing_was_added() -> None:
    report = prompt_report(PERSONAS)
    assert (report.method, report.personas, report.layers, report.vectors) == ("prompt", PERSONAS, [], [])


def test_parameters_then_a_penalty_that_does_nothing_is_left_out() -> None:
    assert sampling_use(Sampling(9, 0.5, 0.9)) == SamplingUse(0.5, 0.9)
    assert sampling_use(Sampling(9, 0.5, 0.9, repetition_penalty=1.1)) == SamplingUse(0.5, 0.9, 1.1)
