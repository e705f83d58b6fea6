"""`python -m tests.frontends`: Open WebUI in a browser in front of a real server, as its users have it.

FRONTENDS_OPEN_WEBUI   its command (.venv-frontends/bin/open-webui)
CHROMIUM               the browser, where it is not on the path
SCREENSHOTS            a folder for a picture of each chat
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.frontends.open_webui import OpenWebUI
from tests.frontends.served import CALLED, FAKE, TOOL, TOY, Recorder, serving
from tests.frontends.talking import QUESTION, ask, choose_persona, open_chat, shown
from tests.ui.chromium import MISSING, chromium

COMMAND = Path(os.environ.get("FRONTENDS_OPEN_WEBUI", ".venv-frontends/bin/open-webui")).absolute()
TASKS_S = 120.0


@dataclass
class Stage:
    """What a check works with."""

    browser: Browser
    front: OpenWebUI
    asked: Recorder

    @contextmanager
    def chat(self, model: str) -> Iterator[Page]:
        """A new chat with a model."""
        page = self.browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(60_000)
        try:
            open_chat(page, self.front.url, model)
            yield page
        finally:
            if folder := os.environ.get("SCREENSHOTS"):
                page.screenshot(path=Path(folder, f"{model.replace(':', '-')}-{time.time():.0f}.png"))
            page.close()


def by_name(stage: Stage) -> str:
    """A persona in the model's name, with tools as they are by default; the answer is seen to grow."""
    with stage.chat(f"{FAKE}:silly") as page:
        (asked,), seen = ask(page, stage.asked, QUESTION, told=f"[+1.00] You said: {QUESTION}")
    assert asked.personas == {"silly": 1.0}, asked
    stages = [text for text in seen if "You said" in text]
    assert len(stages) >= 4, f"the answer came in {len(stages)} pieces"
    return f"{len(asked.body['tools'])} tools sent along, the answer was seen at {len(stages)} lengths"


def titles(stage: Stage) -> str:
    """What Open WebUI asks for itself, after the chat before, goes to the model as it is."""
    deadline = time.monotonic() + TASKS_S
    while not stage.asked.tasks() and time.monotonic() < deadline:
        time.sleep(0.5)
    tasks = stage.asked.tasks()
    assert tasks, "it asked for no title"
    assert all(task.body["model"] == FAKE and task.personas == {} and task.status == 200 for task in tasks), tasks
    return f"{len(tasks)} requests for title, tags and the like, none steered"


def by_menu(stage: Stage) -> str:
    """A persona and a strength chosen by the function's menus."""
    with stage.chat(FAKE) as page:
        choose_persona(page, "silly", "-0.5")
        (asked,), _ = ask(page, stage.asked, QUESTION, told=f"[-0.50] You said: {QUESTION}")
        assert asked.personas == {"silly": -0.5}, asked
        page.get_by_text("silly -0.5 (dose").first.wait_for()
    return "the request is steered at -0.5, and the chat says so"


def tools(stage: Stage) -> str:
    """A call of one of Open WebUI's own tools: it runs it, and the model goes on."""
    with stage.chat(f"{FAKE}:silly") as page:
        (first, second), _ = ask(page, stage.asked, CALLED, told="[+1.00] You said", answers=2)
    assert TOOL in {tool["function"]["name"] for tool in first.body["tools"]}
    last = second.body["messages"][-1]
    assert last["role"] == "tool" and second.personas == {"silly": 1.0}, second
    return f"{TOOL} was called, its result came back, the answer after it is steered too"


def toy(stage: Stage) -> str:
    """A model that is one, with room for a question but not for the tools."""
    with stage.chat(f"{TOY}:silly") as page:
        (asked,), _ = ask(page, stage.asked, "What is the capital of France?", told=f"{TOY}:silly")
        page.wait_for_timeout(3000)  # the last of it is drawn
        said = shown(page)
    assert asked.personas == {"silly": 1.0} and not asked.body.get("tools"), asked
    return said


CHECKS: dict[str, Callable[[Stage], str]] = {
    "a persona by the model's name": by_name,
    "titles are not steered": titles,
    "a persona by the function's menu": by_menu,
    "tools in their default mode": tools,
    "a toy, without tools": toy,
}


def main() -> int:
    """Run the checks, and print what was seen. 0, 1 for one that failed, 2 for what is missing."""
    browser = chromium()
    if browser is None or not COMMAND.is_file():
        missing = f"Open WebUI is not at {COMMAND}; `make test-frontends` installs it"
        print(f"frontends: {MISSING if browser is None else missing}", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="frontends-"))
    print("Loading the models ...", flush=True)
    with serving(folder) as (url, recorder):
        print("Starting Open WebUI: a minute or two ...", flush=True)
        front = OpenWebUI(COMMAND, folder / "open-webui", url, task_model=FAKE)
        try:
            front.until_ready()
            front.install_function()
            front.without_tools(f"{TOY}:silly")
            with sync_playwright() as playwright:
                opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
                failed = [name for name in CHECKS if not passes(name, Stage(opened, front, recorder))]
                opened.close()
        finally:
            front.end()
    print(f"Its log is {front.log}.")
    return 1 if failed else 0


def passes(name: str, stage: Stage) -> bool:
    """Run a check, and say how it went."""
    print(f"{name} ...", end=" ", flush=True)
    started = time.monotonic()
    try:
        said, passed = CHECKS[name](stage), True
    except Exception as error:  # whatever it is, the others are tried too
        said, passed = f"FAILED: {error}", False
    print(f"{said} ({time.monotonic() - started:.0f} s)", flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(main())
