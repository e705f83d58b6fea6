"""Draws docs/pictures/three-coefficients.svg: one question, answered at three coefficients by a running server.

    .venv/bin/persona-proxy serve
    .venv/bin/python -m docs.scripts.picture [http://127.0.0.1:8000]

The answers are real: one seed, the first try. Another model answers with --model.
"""

import argparse
import textwrap
from html import escape
from pathlib import Path

import httpx

PICTURE = Path(__file__).parent.parent / "pictures" / "three-coefficients.svg"
QUESTION, PERSONA, COEFFICIENTS, SEED, TEMPERATURE = "What is the capital of France?", "silly", (-1.0, 1.0), 1, 0.7
COLOURS = ("#3d5a80", "#6b7280", "#c2571a")  # the opposite pole, no steering, the pole
WIDTH, LINE, GAP, LEFT = 860, 24, 18, 190
CHARACTERS = 68  # of a line of the answer


def asked(url: str, model: str) -> dict[float, str]:
    """Coefficient to answer, 0 for the unsteered one."""
    body = {
        "model": model,
        "prompt": QUESTION,
        "persona": PERSONA,
        "coefficients": COEFFICIENTS,
        "seed": SEED,
        "temperature": TEMPERATURE,
    }
    result = httpx.post(f"{url}/api/steering/test", json=body, timeout=120).raise_for_status().json()
    answers = {each["coefficient"]: each["content"] for each in result["steered"]}
    return dict(sorted({0.0: result["unsteered"]["content"], **answers}.items()))


def drawn(model: str, answers: dict[float, str]) -> str:
    """The picture as SVG: a row for each coefficient, in a frame that reads on light and dark pages."""
    rows, y = [], 62
    for (coefficient, answer), colour in zip(answers.items(), COLOURS, strict=True):
        lines = textwrap.wrap(answer, CHARACTERS)
        height = LINE * len(lines) + GAP
        name = "no steering" if not coefficient else f"{PERSONA} {coefficient:+g}".replace("-", "\N{MINUS SIGN}")
        rows.append(f'<rect x="20" y="{y}" width="6" height="{height - 8}" rx="3" fill="{colour}"/>')
        rows.append(f'<text x="40" y="{y + 21}" font-weight="bold" fill="{colour}">{name}</text>')
        for number, line in enumerate(lines):
            rows.append(f'<text x="{LEFT}" y="{y + 21 + LINE * number}" fill="#1f2937">{escape(line)}</text>')
        y += height
    foot = f"{model}, seed {SEED}, temperature {TEMPERATURE:g}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 34}" font-size="16"',
            '  font-family="ui-sans-serif, system-ui, sans-serif" role="img">',
            f"<title>{escape(QUESTION)} Answered at three coefficients of {PERSONA}.</title>",
            f'<rect width="{WIDTH}" height="{y + 34}" rx="12" fill="#fbfaf7" stroke="#d6d3cb"/>',
            f'<text x="20" y="38" font-size="18" font-weight="bold" fill="#1f2937">{escape(QUESTION)}</text>',
            *rows,
            f'<text x="20" y="{y + 18}" font-size="13" fill="#6b7280">{escape(foot)}</text>',
            "</svg>\n",
        ]
    )


def main() -> None:
    """Ask, draw and write."""
    arguments = argparse.ArgumentParser(description="Draw one answer at three coefficients.")
    arguments.add_argument("url", nargs="?", default="http://127.0.0.1:8000")
    arguments.add_argument("--model", default="demo-qwen2")
    given = arguments.parse_args()
    PICTURE.write_text(drawn(given.model, asked(given.url, given.model)), encoding="utf-8")
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
