"""Continuous batching over one llama.cpp context: answers join and leave between its steps.

A step takes one token of every answer that is being written and a piece of the prompts of those that join, as much as
can be read without keeping the others waiting. When the memory is full, first what is only kept for later prompts goes,
then the answer that joined last: it waits for another to end, and is read again.

llama.cpp's rounding depends on how a text is cut into steps and on where in the memory it lies. An answer that is to be
repeatable and finds nobody else running therefore begins in an empty memory, and its prompt is cut where its text alone
decides. Of a prompt that was read before only what was read in just this way is used again. What others left is put
aside for them. Knows nothing of threads, HTTP or personas.
"""

import logging
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

from proxy.engines.answer import Outbox, RunningAnswer
from proxy.engines.base import Failure, FloatArray, Intervention, Likelihood, Probe
from proxy.engines.errors import ModelFailed
from proxy.engines.llama_cpp.context import Context, NoRoom, StepToken
from proxy.engines.llama_cpp.cutting import last_end, piece_ends
from proxy.engines.llama_cpp.graph import Probing, StepSteering, TokenSlot
from proxy.engines.llama_cpp.sampling import Sampler
from proxy.engines.llama_cpp.seats import Seat, SeatedAnswer, length_alike
from proxy.engines.llama_cpp.shelf import Shelf, ShelvedText, common_length
from proxy.engines.logprobs import likelihood

logger = logging.getLogger(__name__)

MOST_PIECE = 512  # tokens of prompts a step takes
_LEAST_PIECE = 32
_STALL_S = 0.25  # longer than this should no step take because of them
_FIXED_PIECES = {"cpu": 64, "gpu": MOST_PIECE}  # where only repeatable answers run; a CPU gains little from longer ones
_MOST_IDLE = 1024  # tokens of ended answers that stay in the memory, where there is a copy to be had
_WORTH_COPYING = 16  # tokens; fewer cost as much to copy as to read again
_COPIED_IN_A_READING = 32  # tokens are put aside while one is read, and then they may never be asked for

_Steered = list[tuple[int, int | None, tuple[Intervention, ...]]]  # row and output of a token, and what is done to it
_Probed = list[tuple[int, int, tuple[Probe, ...]]]  # row and output of a token, and what is read there


class LlamaBatch:
    """All answers of one model, waiting, joining and running, of which `n_seats` at once. A worker steps it."""

    def __init__(self, context: Context, stops: frozenset[int], context_length: int, n_seats: int) -> None:
        self._context = context
        self._stops = stops
        self._context_length = context_length
        self._waiting: deque[SeatedAnswer] = deque()
        self._seats = [Seat(number) for number in range(n_seats)]
        self._running: list[Seat] = []  # those that have a job, by number
        self._left = False  # somebody has since what ended answers left was last cleared away
        self._clock = 0
        self._crowded = False  # the memory was full: nobody joins before somebody leaves
        self._piece = _LEAST_PIECE  # tokens of prompts the next step takes, as time allows
        self._lone: Seat | None = None  # nobody else has had a seat since the memory was emptied for its answer
        self._shelf = Shelf(context.n_cells)
        self._steered: _Steered = []
        self._steering: StepSteering | None = None  # made from `_steered`
        self._probed: _Probed = []
        self._probing: Probing | None = None  # made from `_probed`
        self._outbox = Outbox()  # delivered while the next step is computed

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._waiting or self._running)

    @property
    def cached_bytes(self) -> int:
        """Of memory, for what is kept of prompts. Any thread may ask."""
        return self._shelf.n_bytes

    def add(self, answer: RunningAnswer) -> None:
        """Queue an answer for a later step."""
        answer.outbox = self._outbox
        self._waiting.append(SeatedAnswer(answer))

    def step(self) -> None:
        """A token for all who run, and a piece of prompt for those who join. What fails ends in a Failure event."""
        self._drop_cancelled()
        self._admit()
        self._clear_away()
        while pieces := self._next_pieces():
            try:
                logits = self._run(pieces)
            except NoRoom:
                if not self._make_room():
                    self._failed([seat for seat, _ in pieces], ModelFailed("the model's memory is full"))
            except Exception as error:
                self._failed([seat for seat, _ in pieces], error)
            else:
                self._take(pieces, logits)
                break
        if not self.busy:
            self.pause()

    def pause(self) -> None:
        """No step follows at once: tell what waits to be told beside one."""
        self._outbox.deliver()

    def fail_all(self, error: Exception) -> None:
        """End every answer, and start afresh."""
        jobs = [seat.job for seat in self._running if seat.job] + list(self._waiting)
        self._waiting.clear()
        self._seats, self._running = [Seat(seat.number) for seat in self._seats], []
        self._lone = None
        self._shelf.clear()
        self._context.clear()
        for job in jobs:
            job.answer.emit(Failure(error))
        self.pause()

    def _failed(self, seats: Sequence[Seat], error: Exception) -> None:
        logger.error("a step of %d answers failed", len(seats), exc_info=error)
        failure = error if isinstance(error, ModelFailed) else ModelFailed("the model failed while it ran")
        for seat in seats:
            answer = self._rise(seat).answer
            self._keep(seat, 0)
            answer.emit(Failure(failure))
        self._crowded = False

    def _drop_cancelled(self) -> None:
        if self._waiting and any(job.answer.cancelled for job in self._waiting):
            self._waiting = deque(job for job in self._waiting if not job.answer.cancelled)
        for seat in list(self._running):
            if seat.job is not None and seat.job.answer.cancelled:
                self._leave(seat)

    def _admit(self) -> None:
        """Let those waiting take free seats."""
        if not self._waiting:
            return
        free = [seat for seat in self._seats if seat.job is None]
        lone = False
        if not self._running:
            self._crowded = False
            if all(job.answer.repeatable for job in self._waiting):
                lone = len(self._waiting) == 1
                self._start_over(self._waiting[0] if lone else None)
        while self._waiting and free and not self._crowded:
            job = self._waiting.popleft()
            seat = self._seat_for(job, free, settled=lone)
            free.remove(seat)
            self._sit(seat, job)
            job.answer.cached = len(seat.tokens)
            self._lone = seat if lone else None

    def _sit(self, seat: Seat, job: SeatedAnswer) -> None:
        seat.job, seat.since, seat.passing = job, self._tick(), job.answer.among is not None
        self._running = [seat for seat in self._seats if seat.job is not None]

    def _rise(self, seat: Seat) -> SeatedAnswer:
        """The job that the seat was for."""
        job, seat.job = seat.job, None
        assert job is not None
        self._running.remove(seat)
        self._left = True
        return job

    def _clear_away(self) -> None:
        """Put aside most of what ended answers left. On a CPU a step looks through all that the memory holds, whosever
        it is: four thousand tokens of others make a small model's a third longer. What was left last stays: a
        conversation goes on."""
        if not self._left or self._context.model.device != "cpu":
            return
        self._left = False
        left = sorted((seat for seat in self._seats if seat.job is None and seat.tokens), key=lambda seat: seat.since)
        n_tokens = sum(len(seat.tokens) for seat in left)
        for seat in left[:-1]:
            if n_tokens <= _MOST_IDLE:
                return
            n_tokens -= len(seat.tokens)
            if not seat.passing:
                self._put_aside(seat)
            self._keep(seat, 0)

    def _start_over(self, lone: SeatedAnswer | None) -> None:
        """Empty the memory, so that what comes next does not depend on what came before. What it held is put aside.
        Only the settled beginning of a lone answer's prompt is left in it, where there is one."""
        key, wanted, ends = "", [], []
        if lone is not None:
            answer = lone.answer
            key, wanted = answer.prefix_key, answer.prompt[:-1]
            ends = lone.ends = piece_ends(answer.prompt, answer.special, self._fixed_piece)
        length, seat = 0, self._lone
        if lone is not None and seat is not None and seat.key == key:
            length = last_end(ends, self._usable(seat, wanted[: seat.settled]))
        text = None if lone is None else self._shelf.best(key, wanted, settled=True)
        on_shelf = 0 if text is None else last_end(ends, text.usable(key, wanted, settled=True))
        if length < on_shelf:
            length = 0
        for kept in self._seats:
            lost = len(kept.tokens) - (common_length(kept.tokens, wanted) if length and kept is seat else 0)
            if lost * _COPIED_IN_A_READING > len(kept.tokens) and not kept.passing:
                self._put_aside(kept)
        if length and seat is not None:
            self._keep(seat, length)  # it lies at the memory's beginning, and nobody else in it
            return
        for kept in self._seats:
            kept.tokens, kept.settled = [], 0
        self._context.clear()
        if text is not None and on_shelf:
            self._take_down(text, self._seats[0], on_shelf)

    @property
    def _fixed_piece(self) -> int:
        return _FIXED_PIECES[self._context.model.device]

    def _put_aside(self, seat: Seat) -> None:
        # Of blocks that look back over a window, what is put back does not lie where it would after reading.
        settled = 0 if self._context.model.window else seat.settled
        self._shelf.put(ShelvedText(seat.key, list(seat.tokens), settled, self._context.save(seat.number)))

    def _take_down(self, text: ShelvedText, seat: Seat, length: int) -> bool:
        """Let an empty seat hold the first `length` tokens of what was put aside; whether it can go on from there."""
        if not self._context.restore(seat.number, text.state):
            return False
        seat.key, seat.tokens, seat.settled = text.key, list(text.tokens), text.settled
        fits = self._context.can_go_on(seat.number, length)
        self._keep(seat, length if fits else 0)
        return fits

    def _seat_for(self, job: SeatedAnswer, free: Sequence[Seat], *, settled: bool) -> Seat:
        """A free seat that holds as much of the job's prompt as is known of it, and nothing else. With `settled`, what
        the seats hold is all that may be used."""
        answer = job.answer
        key = answer.prefix_key
        wanted = answer.prompt[:-1]  # the last token is read by its own plan, and to get its logits
        alike = {seat: self._usable(seat, wanted) if seat.key == key else 0 for seat in self._seats}
        source = max(self._seats, key=lambda seat: (alike[seat], seat.job is None))
        length = alike[source]
        if not settled and (from_shelf := self._from_shelf(job, free, length + _WORTH_COPYING)):
            return from_shelf
        # One whose tokens all go on in this prompt is the one to take; else one that is of least use to others.
        seat = min(
            free, key=lambda seat: (seat is not source or length < len(seat.tokens), bool(seat.tokens), seat.since)
        )
        if seat is source:
            self._keep(seat, length)
        else:
            self._keep(seat, 0)
            if length:
                self._context.share(source.number, seat.number, length)
                seat.tokens, seat.settled = source.tokens[:length], min(source.settled, length)
                source.since = self._tick()
        seat.key = key
        return seat

    def _from_shelf(self, job: SeatedAnswer, free: Sequence[Seat], least: int) -> Seat | None:
        """A free seat for a job of whose prompt `least` tokens or more were put aside; None where they were not."""
        key, wanted = job.answer.prefix_key, job.answer.prompt[:-1]
        text = self._shelf.best(key, wanted)
        length = 0 if text is None else text.usable(key, wanted, settled=False)
        if text is None or length < least:
            return None
        seat = min(free, key=lambda seat: (bool(seat.tokens), seat.since))
        self._keep(seat, 0)
        if not self._take_down(text, seat, length):
            return self._seat_for(job, free, settled=True)
        seat.settled = 0  # it need not lie in order, nor at the memory's beginning, which last bits depend on
        self._hold_once(seat)
        return seat

    def _hold_once(self, seat: Seat) -> None:
        """What a seat's text has in common with another's need not be in the memory twice: a step looks through all
        that is there, and sixteen copies of a thousand tokens make a small model's twice as long."""
        source, length = self._most_alike(seat, seat.tokens)
        if length:
            self._context.hold_once(source.number, seat.number, length)

    def _most_alike(self, seat: Seat, wanted: Sequence[int]) -> tuple[Seat, int]:
        """The other seat, read in the same way, that begins with most of the tokens wanted, and how many those are."""
        others = [other for other in self._seats if other is not seat and other.key == seat.key]
        alike = {other: self._usable(other, wanted) for other in others}
        source = max(alike, key=alike.__getitem__, default=seat)
        return source, alike.get(source, 0)

    def _usable(self, seat: Seat, wanted: Sequence[int]) -> int:
        """How many of a seat's first tokens are those wanted, if others may go on from there."""
        length = common_length(seat.tokens[: seat.shareable], wanted)
        return length if self._context.can_go_on(seat.number, length) else 0

    def _next_pieces(self) -> list[tuple[Seat, list[int]]]:
        """Whose tokens the next step takes: a token of everyone who runs, then prompts in the order they came."""
        seats = [(seat, seat.pending) for seat in self._running]
        pieces = [(seat, tokens) for seat, tokens in seats if len(tokens) == 1]
        if len(pieces) == len(seats):
            return pieces
        most = self._fixed_piece if self._repeating else self._piece
        if len(seats) == 1:
            most = max(most, self._fixed_piece)  # nobody is kept waiting
        left = min(most, self._context.n_batch - len(pieces))
        for seat, tokens in sorted(seats, key=lambda pair: pair[0].since):
            if len(tokens) > 1 and left:
                if self._borrow(seat):
                    tokens = seat.pending
                pieces.append((seat, tokens[: min(left, self._until_cut(seat))]))
                left -= len(pieces[-1][1])
        return pieces

    def _until_cut(self, seat: Seat) -> int:
        """How many of its tokens a step may read."""
        if seat is not self._lone or seat.job is None:
            return MOST_PIECE
        at = len(seat.tokens)
        following = bisect_right(seat.job.ends, at)
        return seat.job.ends[following] - at if following < len(seat.job.ends) else MOST_PIECE

    def _borrow(self, seat: Seat) -> bool:
        """Let a seat go on where another has come to meanwhile with a prompt that begins alike; whether that is
        further. Answers that join together find little read yet, but are read one after the other."""
        assert seat.job is not None
        if seat is self._lone:
            return False
        source, length = self._most_alike(seat, seat.job.answer.prompt[:-1])
        if length < len(seat.tokens) + _WORTH_COPYING:
            return False
        self._context.cut(seat.number, 0)
        self._context.share(source.number, seat.number, length)
        seat.tokens, seat.settled = source.tokens[:length], min(source.settled, length)
        seat.job.answer.cached = length
        return True

    @property
    def _repeating(self) -> bool:
        """Whether all who have seats are to be repeatable: then the clock decides nothing."""
        return all(seat.job.answer.repeatable for seat in self._running if seat.job is not None)

    def _run(self, pieces: Sequence[tuple[Seat, list[int]]]) -> FloatArray:
        """One step: float32[n_answers, vocabulary], for each answer whose text is read to its end, in their order."""
        tokens: list[StepToken] = []
        steered: _Steered = []
        probed: _Probed = []
        read: list[RunningAnswer] = []  # by `probed`
        n_outputs = 0
        for seat, piece in pieces:
            assert seat.job is not None
            text, answer, begin = seat.job.text, seat.job.answer, len(seat.tokens)
            for position, token in enumerate(piece, begin):
                wanted = position == len(text) - 1
                if interventions := answer.steering_at(position):
                    steered.append((len(tokens), n_outputs if wanted else None, interventions))
                if wanted and answer.produced and answer.generation.probes:
                    probed.append((len(tokens), n_outputs, answer.generation.probes))
                    read.append(answer)
                tokens.append(StepToken(token, position, seat.number, wanted))
                n_outputs += wanted
        self._reach(steered, probed)
        began = time.monotonic()
        logits = self._context.run(tokens, self._steering, self._probing, self._outbox.deliver)
        if len(tokens) > len(pieces) and not self._repeating:
            self._pace(len(tokens), time.monotonic() - began)
        if self._probing is not None:
            for answer, readings in zip(read, self._probing.readings(), strict=True):
                answer.readings = readings
        return logits

    def _reach(self, steered: _Steered, probed: _Probed) -> None:
        """Steer and read so in the next step."""
        trimmed = self._context.model.trimmed_block
        if not _same(steered, self._steered):
            places = [(TokenSlot(row, output), interventions) for row, output, interventions in steered]
            self._steering = StepSteering(places, trimmed) if places else None
            self._steered = steered
        if not _same(probed, self._probed):
            read = [(TokenSlot(row, output), probes) for row, output, probes in probed]
            self._probing = Probing(read, trimmed) if read else None
            self._probed = probed

    def _pace(self, n_tokens: int, took_s: float) -> None:
        """Choose how much of prompts the next step takes, from how long this one's tokens took."""
        if took_s > _STALL_S:
            self._piece = max(self._piece // 2, _LEAST_PIECE)
        elif took_s < _STALL_S / 2 and n_tokens >= self._piece:
            self._piece = min(self._piece * 2, MOST_PIECE)

    def _take(self, pieces: Sequence[tuple[Seat, list[int]]], logits: FloatArray) -> None:
        """Note what was read, and draw the next token of every answer whose text is read to its end."""
        n_drawn, row = 0, -1
        for seat, piece in pieces:
            assert seat.job is not None
            job = seat.job
            if seat is self._lone:
                self._settle(seat, len(piece))
            seat.tokens += piece
            row += len(piece)
            if len(seat.tokens) < len(job.text):
                continue
            n_drawn += 1
            try:
                token, likelihood = self._draw(job, row, logits[n_drawn - 1])
            except Exception as error:
                self._failed([seat], error)
                continue
            if job.answer.accept(token, self._stops, self._context_length, likelihood):
                job.text.append(token)
            else:
                self._leave(seat)

    def _settle(self, seat: Seat, n_tokens: int) -> None:
        """Note that these follow on the seat's tokens: a piece between two cuts, read alone, is settled."""
        assert seat.job is not None
        end = len(seat.tokens) + n_tokens
        if seat.settled == len(seat.tokens) and last_end(seat.job.ends, end) == end:
            seat.settled = end

    def _draw(self, job: SeatedAnswer, row: int, logits: FloatArray) -> tuple[int, Likelihood | None]:
        """The job's next token, -1 for none, from the logits of the step's token `row`."""
        answer, rules = job.answer, job.answer.generation.sampling
        if job.sampler is None:
            allowed = answer.allowed if answer.constrained else None
            job.sampler = Sampler(rules, answer.prompt, len(logits), self._context_length, allowed)
        if rules.top_logprobs is None:
            return job.sampler.draw(self._context.handle, row, logits), None
        before = logits.copy()
        token = job.sampler.draw(self._context.handle, row, logits)
        return token, None if token < 0 else likelihood(before, token, rules.top_logprobs, answer.special)

    def _leave(self, seat: Seat) -> None:
        """The answer has ended. What was done to its tokens as to its prompt's may be of use to others."""
        self._keep(seat, length_alike(self._rise(seat).answer, len(seat.tokens)))
        self._crowded = False

    def _make_room(self) -> bool:
        """Give up what is needed least; whether there was anything."""
        kept = [seat for seat in self._seats if seat.job is None and seat.tokens]
        running = self._running
        if kept:
            self._keep(min(kept, key=lambda seat: seat.since), 0)
            return True
        if len(running) < 2:
            return False
        last = max(running, key=lambda seat: seat.since)
        self._waiting.appendleft(self._rise(last))
        self._crowded = True
        self._keep(last, 0)
        return True

    def _keep(self, seat: Seat, length: int) -> None:
        """Keep the first tokens of a seat without a job."""
        self._context.cut(seat.number, length)
        del seat.tokens[length:]
        seat.settled = min(seat.settled, length)
        seat.since = self._tick()

    def _tick(self) -> int:
        self._clock += 1
        return self._clock


def _same(first: _Steered | _Probed, second: _Steered | _Probed) -> bool:
    return len(first) == len(second) and all(
        a[0] == b[0] and a[1] == b[1] and a[2] is b[2] for a, b in zip(first, second, strict=True)
    )
