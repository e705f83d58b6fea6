"""The command `persona-proxy`: reads the command line, calls what does the work, turns errors into one line.

Everything heavy is imported by the command that needs it, so that `--help` and mistakes are answered at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import proxy
from proxy import demo
from proxy.cli.common import explained
from proxy.cli.compare import add_compare
from proxy.cli.demo import add_demo
from proxy.cli.evaluate import add_evaluate
from proxy.cli.extract import add_extract
from proxy.cli.models import add_models
from proxy.cli.plan import add_plan
from proxy.cli.pull import add_pull
from proxy.cli.serve import add_serve, add_settings
from proxy.cli.sweep import add_sweep
from proxy.cli.traits import add_traits
from proxy.cli.transfer import add_transfer
from proxy.cli.vectors import add_vectors
from proxy.engines.errors import EngineError
from proxy.errors import ProxyError, SetupError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 a failure, 2 the operator's mistake, 130 interrupted."""
    demo.register()
    args, unknown = parser().parse_known_args(argv)
    if unknown:
        args.command.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        with explained():
            args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has had enough; nothing is to be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SetupError as error:
        print(f"persona-proxy: {error.message}", file=sys.stderr)
        return 2
    except (ProxyError, EngineError) as error:
        print(f"persona-proxy: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = argparse.ArgumentParser(
        prog="persona-proxy",
        description="An OpenAI-compatible server that gives every request its own personality.",
        epilog="`persona-proxy COMMAND --help` shows a command's options and examples.",
    )
    root.add_argument("--version", action="version", version=f"persona-proxy {proxy.__version__}")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_serve(commands)
    add_extract(commands)
    add_sweep(commands)
    add_evaluate(commands)
    add_compare(commands)
    add_plan(commands)
    add_vectors(commands)
    add_traits(commands)
    add_transfer(commands)
    add_models(commands)
    add_pull(commands)
    add_demo(commands)
    add_settings(commands)
    return root
