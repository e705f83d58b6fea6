"""Where a Chromium is. Knows nothing of what is done with it.

`python -m tests.ui.chromium` says in a line that there is none, with exit code 1.
"""

import os
import shutil
import sys

# The shell draws the same pages in two thirds of the processor time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium is installed; on Debian: apt-get install chromium"


def chromium() -> str | None:
    """The browser that CHROMIUM names, or one on the path."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


if __name__ == "__main__":
    sys.exit(None if chromium() else MISSING)
