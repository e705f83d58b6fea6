"""What a client is told of how its answer was steered: the wire's report, by each method. Pure."""

from collections.abc import Iterable, Mapping

from proxy.engines.base import Mode, Sampling
from proxy.protocol.steering import SamplingUse, SteeringReport, VectorUse
from proxy.steering.options import PlanReport
from vector_store import VectorHeader


def activation_report(
    personas: Mapping[str, float], mode: Mode, done: PlanReport, vectors: Iterable[VectorHeader]
) -> SteeringReport:
    """Of personas, by name with their coefficients, that were steered to by a plan with the model's own vectors."""
    return SteeringReport(
        personas=dict(personas),
        method="activation",
        mode=mode,
        positions=done.positions,
        channels=None if done.channels is None else list(done.channels),
        layers=list(done.layers),
        relative_dose=done.relative_dose,
        clamped=done.clamped,
        beyond_measured_range=done.beyond_measured_range,
        vectors=[VectorUse(id_, origin) for id_, origin in dict.fromkeys((v.id, v.origin) for v in vectors)],
    )


def sampling_report(personas: Mapping[str, float], sources: Iterable[VectorHeader], model_id: str) -> SteeringReport:
    """Of personas asked for by sampling: nothing was added to the residuals of the model `model_id`."""
    used = dict.fromkeys((header.id, header.origin, header.model_id) for header in sources)
    vectors = [VectorUse(id_, origin, None if owner == model_id else owner) for id_, origin, owner in used]
    return SteeringReport(
        personas=dict(personas), method="sampling", layers=[], relative_dose=0.0, clamped=False, vectors=vectors
    )


def prompt_report(personas: Mapping[str, float]) -> SteeringReport:
    """Of personas asked for in words: nothing was added to the model's residuals."""
    return SteeringReport(
        personas=dict(personas), method="prompt", layers=[], relative_dose=0.0, clamped=False, vectors=[]
    )


def sampling_use(sampling: Sampling) -> SamplingUse:
    """The parameters an answer is drawn with."""
    penalty = sampling.repetition_penalty
    return SamplingUse(sampling.temperature, sampling.top_p, None if penalty == 1 else penalty)
