"""Judges: how much of a pole an answer shows, and whether the answer makes sense, from its text alone."""

from proxy.steering.judge.base import SCORES, Answer, Judge, JudgeKind, NamedJudge, Score, check_judged, name_of
from proxy.steering.judge.likelihood import LikelihoodJudge
from proxy.steering.judge.model import ModelJudge
from proxy.steering.judge.preparing import JUDGING, default_kind, prepare, stages
from proxy.steering.judge.rules import RulesJudge
from proxy.steering.judge.validation import Validated

__all__ = [
    "JUDGING",
    "SCORES",
    "Answer",
    "Judge",
    "JudgeKind",
    "LikelihoodJudge",
    "ModelJudge",
    "NamedJudge",
    "RulesJudge",
    "Score",
    "Validated",
    "check_judged",
    "default_kind",
    "name_of",
    "prepare",
    "stages",
]
