"""Any OpenAI-compatible endpoint as a judge: asked for one token, whose log-probabilities give the expected digit.

An endpoint that gives no log-probabilities can't judge, and is told of at once: the mean of a few sampled digits would
cost several requests an answer and be coarser.
"""

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np

from proxy.engines.base import FloatArray
from proxy.errors import SetupError
from proxy.judge_settings import JudgeSettings
from proxy.steering.judge.base import Answer, Score
from proxy.steering.judge.digits import DIGITS, expected_digits, scores_by_digit

AT_ONCE = 8  # requests
TIMEOUT_S = 60.0  # of a request
TRIES = 4  # of a request that is turned away for now, or lost
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0  # before the next try; the pause doubles, and Retry-After may lengthen it
PASSING = frozenset((408, 409, 425, 429)) | frozenset(range(500, 600))  # statuses worth another try
N_LIKELIEST = 20  # tokens, the most that the API lets ask for


class EndpointJudge:
    """A model behind an OpenAI-compatible endpoint, asked for one digit; the score is the expectation over the
    probabilities of the ten digits. A token counts as the digit it shows, with or without space around it."""

    def __init__(self, settings: JudgeSettings) -> None:
        """SetupError where the key's environment variable is not set."""
        self.name = settings.name
        self._model = settings.model
        self._url = f"{settings.base_url.rstrip('/')}/chat/completions"
        self._key_env = settings.key_env
        self._headers = {"authorization": f"Bearer {self._key()}"} if settings.key_env else {}

    def score(self, answers: Sequence[Answer]) -> list[Score | None]:
        """One score for each answer, in order; None where the model was not about to reply with a digit. Blocks.
        SetupError where the endpoint can't be reached, refuses, or gives no log-probabilities."""
        return scores_by_digit(answers, self._expected)

    def _expected(self, prompts: Sequence[str]) -> FloatArray:
        with httpx.Client(headers=self._headers, timeout=TIMEOUT_S) as client, ThreadPoolExecutor(AT_ONCE) as threads:
            rows = threads.map(lambda prompt: self._digit_logprobs(client, prompt), prompts)
            try:
                return expected_digits(np.stack(list(rows)))
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise

    def _digit_logprobs(self, client: httpx.Client, prompt: str) -> FloatArray:
        """float32[10]: the log-probability of each digit as the reply to a prompt."""
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": N_LIKELIEST,
        }
        answer = self._post(client, body)
        try:
            tokens = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
            return _digit_logprobs([(entry["token"], entry["logprob"]) for entry in tokens])
        except (KeyError, IndexError, TypeError):
            raise self._failed("gave no log-probabilities of an answer's first token, which a judge needs") from None

    def _post(self, client: httpx.Client, body: Mapping[str, Any]) -> Any:
        """What the endpoint answers, tried again where that may help."""
        pause_s = FIRST_PAUSE_S
        for left in reversed(range(TRIES)):
            try:
                response = client.post(self._url, json=body)
            except httpx.HTTPError as error:
                problem, asked_s = f"can't be reached: {_one_line(error)}", 0.0
            else:
                if response.is_success:
                    return self._decoded(response)
                if response.status_code not in PASSING:
                    raise self._refused(response)
                problem, asked_s = f"answered {response.status_code} {TRIES} times", _retry_after_s(response)
            if left:
                time.sleep(min(max(pause_s, asked_s), LONGEST_PAUSE_S))
                pause_s *= 2
        raise self._failed(problem)

    def _decoded(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError:
            raise self._failed("answered something that is not JSON") from None

    def _refused(self, response: httpx.Response) -> SetupError:
        status = response.status_code
        if status in (401, 403):
            key = f"the key in {self._key_env}" if self._key_env else "a request without a key (`key_env` names one)"
            return self._failed(f"refuses {key}: {status}")
        return self._failed(f"answered {status}: {_reason(response)}")

    def _failed(self, problem: str) -> SetupError:
        return SetupError(f"the judge {self.name} ({self._url}) {problem}")

    def _key(self) -> str:
        key = os.environ.get(self._key_env or "", "").strip()
        if not key:
            raise SetupError(f"the judge {self.name} takes its key from {self._key_env}, which is not set")
        return key


def _digit_logprobs(likeliest: Sequence[tuple[str, float]]) -> FloatArray:
    """float32[10]: the log-probability of each digit, all tokens that show it together."""
    masses = np.full(len(DIGITS), 1e-30, np.float64)
    for token, logprob in likeliest:
        digit = token.strip()
        if len(digit) == 1 and digit in DIGITS:
            masses[int(digit)] += np.exp(min(logprob, 0.0))
    return np.log(masses).astype(np.float32)


def _retry_after_s(response: httpx.Response) -> float:
    try:
        return float(response.headers.get("retry-after", 0))
    except ValueError:  # a date
        return 0.0


def _reason(response: httpx.Response) -> str:
    """What an OpenAI error body says, in one line."""
    try:
        reason = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        reason = response.text
    lines = reason.strip().splitlines()
    return lines[0][:300] if lines else "no reason given"


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
