"""Writes the tables of docs/how/at-scale.md, from formulas and from facts whose source is named there.

    python -m docs.scripts.arithmetic

A test holds the page to what is computed here.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parent.parent / "how" / "at-scale.md"
SPANS, CONDITIONS, FLOAT = 2, 3, 4  # of a stored vector: means of each span under each condition, as float32
KEPT_VECTORS = 256 * 2**20  # bytes that a server keeps of vectors (vector_store.store.KEPT_BYTES)
SHARE = 0.9  # of a node's memory that is used
AT_ONCE, CONTEXT = 16, 4096  # answers at once (max_batch), and the tokens of each with its prompt
PROCESS = 0.6e9  # bytes of the server without a model: it and a demo model take 498 to 522 MB (Speed)


@dataclass(frozen=True)
class Model:
    """Figures of a model's config.json; `weights` are in bytes."""

    name: str
    blocks: int
    width: int
    kv_heads: int
    head: int
    weights: float

    @property
    def kv_per_token(self) -> int:
        """Bytes of keys and values, each two bytes wide."""
        return 2 * self.blocks * self.kv_heads * self.head * 2

    @property
    def vector(self) -> int:
        """Bytes of a stored vector, which is two personas."""
        return SPANS * (CONDITIONS * self.blocks * self.width + self.blocks) * FLOAT

    @property
    def row(self) -> int:
        """Bytes of what is added at one block."""
        return self.width * FLOAT


SMOL = Model("SmolLM2-135M, Q4_1", 30, 576, 3, 64, 98_362_432)
QWEN = Model("Qwen2.5-7B, bfloat16", 28, 3584, 4, 128, 2 * 7_615_616_512)
QWEN_Q4 = Model("Qwen2.5-7B, Q4_K_M", 28, 3584, 4, 128, 4_683_074_240)
GPT_OSS = Model("GPT-OSS-20B, MXFP4", 24, 2880, 8, 64, 12_109_566_560)
MODELS = (SMOL, QWEN_Q4, QWEN, GPT_OSS)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _bytes(count: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}" if count < 999.5 * size else f"{count / size:,.0f} {unit}"
    return f"{count:.0f} B"


def sizes() -> str:
    """What a token, a persona and an answer take."""
    return _table(
        [
            "model",
            "weights",
            "keys and values of a token",
            "a stored vector (two personas)",
            "what is added at a block",
        ],
        ([m.name, _bytes(m.weights), _bytes(m.kv_per_token), _bytes(m.vector), _bytes(m.row)] for m in MODELS),
    )


def nodes() -> str:
    """How many answers and personas a node has room for."""
    return _table(
        [
            "node",
            "model",
            "weights and process",
            f"{AT_ONCE} answers of {CONTEXT:,} tokens",
            "room for",
            "personas kept",
        ],
        (
            [name, m.name, _bytes(m.weights + PROCESS), _bytes(_answers(m)), _room(memory, m), _kept(m)]
            for name, memory, models in (
                ("4 GB", 4e9, (SMOL,)),
                ("16 GB", 16e9, (SMOL, QWEN_Q4)),
                ("24 GB GPU", 24e9, (QWEN, GPT_OSS)),
                ("80 GB GPU", 80e9, (QWEN, GPT_OSS)),
                ("141 GB GPU", 141e9, (QWEN, GPT_OSS)),
            )
            for m in models
        ),
    )


def _answers(model: Model) -> float:
    return AT_ONCE * CONTEXT * model.kv_per_token


def _room(memory: float, model: Model) -> str:
    left = SHARE * memory - model.weights - PROCESS
    return f"{int(left / (CONTEXT * model.kv_per_token)):,} answers"


def _kept(model: Model) -> str:
    return f"{2 * (KEPT_VECTORS // model.vector):,}"


RATIOS = (
    ("transformers, 0.5B, 32 at once", 1.055, "measured, [Speed](../results/SPEED.md)"),
    ("transformers, 0.5B, 4 at once", 0.999, "measured"),
    ("transformers, demo model, 32 at once", 0.919, "measured, the lowest with transformers"),
    ("llama.cpp, 0.5B, Q8_0, 4 at once", 0.952, "measured"),
    ("llama.cpp, demo model, 16 at once", 0.828, "measured, the lowest of all"),
    ("vLLM on two CPU cores, demo model, 32 different", 1.0, "measured, five rounds of 0.88 to 1.16"),
    ("vLLM on two CPU cores, SmolLM2-135M, 32 different", 0.97, "measured, eight rounds of 0.82 to 1.09"),
    ("wanted of a vLLM engine, 32 different", 0.97, "a goal"),
    ("a peer at 256 different vectors", 0.18, "reported by others, not measured by us"),
)
PRICE, SPEEDS = 2.0, (500, 2_000, 10_000)  # US dollars an hour of a node, and unsteered tokens per second: assumed


def costs() -> str:
    """What a million steered tokens cost over unsteered ones."""

    def row(what: str, ratio: float, source: str) -> list[str]:
        extra = [f"{1e6 / speed / 3600 * PRICE * (1 / ratio - 1):+.3f}" for speed in SPEEDS]
        return [what, f"{ratio:.3f}", f"{100 * (1 / ratio - 1):+.1f} %", *extra, source]

    prices = [f"{speed:,} tokens/s: {1e6 / speed / 3600 * PRICE:.3f}" for speed in SPEEDS]
    head = ["where", "r", "over unsteered", *prices, "source of r"]
    return _table(head, (row(*each) for each in RATIOS))


def growth() -> str:
    """How the tables of vectors grow with the personas."""
    return _table(
        [
            "personas",
            "rows, Qwen2.5-7B",
            "of its weights",
            "stored, Qwen2.5-7B",
            "rows, GPT-OSS-20B",
            "stored, GPT-OSS-20B",
        ],
        (
            [
                f"{count:,}",
                _bytes(count * QWEN.row),
                f"{100 * count * QWEN.row / QWEN.weights:.2g} %",
                _bytes(count / 2 * QWEN.vector),
                _bytes(count * GPT_OSS.row),
                _bytes(count / 2 * GPT_OSS.vector),
            ]
            for count in (10, 100, 1_000, 10_000)
        ),
    )


SLOTS, DIRECTIVES = 4096, 1024  # of vectors and of plans, in vLLM's workers (proxy/engines/vllm/steering.py)
ADDED_AND_HELD, READ = 2 * 3, 8  # of a program at each block: three additions, three holds, eight probes (table.py)
STEP = 8_192  # tokens of a step (max_num_batched_tokens): assumed


def telling() -> str:
    """What vLLM's workers keep of plans, and what is sent to tell each replica of them."""

    def row(model: Model) -> list[str]:
        programs = model.blocks * (ADDED_AND_HELD + READ) * (1 + 4 * DIRECTIVES) * 8
        read = model.blocks * READ * STEP * FLOAT
        sent = [_bytes(PLANS * ROWS * model.row * replicas) for replicas in REPLICAS]
        return [model.name, _bytes(SLOTS * model.row), _bytes(programs), _bytes(read), *sent]

    head = ["model", "bank of vectors", "programs", "what is read", *(f"sent to {replicas:,}" for replicas in REPLICAS)]
    return _table(head, (row(model) for model in (QWEN, GPT_OSS)))


ROWS = 2  # of a plan: what is added, and the direction by which its projection is read
PLANS, SHARED = 100, 2_000  # plans in use at once, and tokens of the system prompt that they share
REPLICAS = (1, 10, 100, 1_000)


def prefixes() -> str:
    """What a shared system prompt takes of each replica's memory, and the tokens read until all have it."""
    copy = SHARED * QWEN.kv_per_token

    def row(replicas: int) -> list[str]:
        near = max(PLANS // replicas, 1)
        cells = [f"{replicas:,}"]
        for copies, read in ((PLANS, PLANS * replicas), (near, max(PLANS, replicas)), (1, replicas)):
            cells.append(f"{_bytes(copies * copy)}, {read * SHARED / 1e6:,.3g} M")
        return cells

    head = ["replicas", "a salt for each plan, any replica", "a salt, a plan stays with its replica", "no salt: shared"]
    return _table(head, map(row, REPLICAS))


TURNS, ASKED, ANSWER = 5, 50, 200  # of a chat: turns, tokens of a question and of an answer


def chats() -> str:
    """Tokens that are read for one chat."""
    asked, before = TURNS * ASKED, (TURNS - 1) * ANSWER
    nothing = TURNS * SHARED + ASKED * TURNS * (TURNS + 1) // 2 + ANSWER * TURNS * (TURNS - 1) // 2
    even = 1 - before / SHARED
    return _table(
        ["what is kept", "tokens read", f"{TURNS} turns, system prompt {SHARED:,}, question {ASKED}, answer {ANSWER}"],
        [
            ["nothing", "T S + u T (T + 1) / 2 + a T (T - 1) / 2", f"{nothing:,}"],
            ["all, a salt for each plan; the plan is new here", "S + T u", f"{SHARED + asked:,}"],
            ["all, a salt for each plan; the plan was here before", "T u", f"{asked:,}"],
            ["prompts, shared by all plans", "T u + (T - 1) a", f"{asked + before:,}"],
            ["even: share of chats whose plan was here before", "1 - (T - 1) a / S", f"{even:.2f}"],
        ],
    )


TABLES: dict[str, Callable[[], str]] = {
    "sizes": sizes,
    "nodes": nodes,
    "costs": costs,
    "growth": growth,
    "telling": telling,
    "prefixes": prefixes,
    "chats": chats,
}
_PLACE = re.compile(r"(<!-- computed: (\w+) -->\n).*?(<!-- /computed -->)", re.DOTALL)


def filled(text: str) -> str:
    """The page with its tables as they are computed now."""
    return _PLACE.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n{found[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), encoding="utf-8")
    print(f"wrote {PAGE}")
