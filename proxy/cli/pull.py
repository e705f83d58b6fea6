"""The command `persona-proxy pull`."""

import argparse
from pathlib import Path

from proxy.catalogue.known import KNOWN
from proxy.cli.common import Commands, add_command

EXAMPLES = """examples:
  persona-proxy pull smollm2-135m-instruct                  98 MB; `persona-proxy models` lists all it knows
  persona-proxy pull gpt-oss-20b                            12 GB
  persona-proxy pull OWNER/REPO/FILE.gguf                   any other on the Hugging Face hub, in one file
"""


def add_pull(commands: Commands) -> None:
    """Add `pull` to the command line."""
    get = add_command(commands, "pull", "download a GGUF model; a download that was cut off goes on", EXAMPLES)
    get.add_argument("model", metavar="MODEL", help=f"{', '.join(KNOWN)} or OWNER/REPO/FILE.gguf")
    get.add_argument("--out", type=Path, metavar="FOLDER", help="where to keep it (`models` in the user's data folder)")
    get.set_defaults(run=_pull)


def _pull(args: argparse.Namespace) -> None:
    from proxy.catalogue.pull import pull

    pull(args.model, args.out)
