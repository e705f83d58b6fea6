"""The socket that a server listens on, and how it is reached. Knows nothing of what is served."""

import errno
import socket

from proxy.errors import SetupError


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Taken before anything slow begins, so that a port in use is known at once. SetupError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except socket.gaierror:
        raise SetupError(f"host: {host!r} is not an address of this machine") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SetupError(
                f"port {port} on {host} is in use; choose another: persona-proxy serve --port {_other(port)}, "
                f"or PORT={_other(port)} make serve"
            ) from None
        raise SetupError(f"can't listen on {host} port {port}: {error.strerror}") from None


def _other(port: int) -> int:
    return port + 1 if port < 65535 else 8000


def url_of(host: str, port: int) -> str:
    """Where a browser or client on this machine reaches the server."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"
