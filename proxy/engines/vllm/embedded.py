"""The processes that vLLM starts for a server of ours live and end with it.

A Ctrl-C in a terminal goes to all its processes, and vLLM's would end at once: the server ends them when its last
answer is told. A server that was killed can't, so that they look for it themselves. Knows nothing of vLLM.
"""

import os
import signal
import threading
from multiprocessing import connection, parent_process

EMBEDDED = "PERSONA_STEERING_EMBEDDED"  # in the environment of all of them, and no setting


def live_with_server() -> None:
    """In a process that vLLM started for a server of ours; elsewhere it does nothing."""
    parent = parent_process()
    if parent is None or EMBEDDED not in os.environ:
        return
    os.setpgrp()
    threading.Thread(target=_end_after, args=(parent.sentinel,), name="ends with the server", daemon=True).start()


def _end_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
