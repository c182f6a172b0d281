"""A server that others wrote understands the header."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.proxy.listeners import open_listeners
from moorage.values import ANY, PROXY_V2
from proxy.harness import Harness

UNPACKED = Path(__file__).parents[2] / ".peers/dataplane/nginx/usr/sbin/nginx"
CONFIGURATION = """
user root; daemon off; master_process off; pid nginx.pid; error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
    server {{
        listen 127.0.0.1:{port} proxy_protocol;
        return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port";
    }}
}}
"""


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[int]:
    """The port of an nginx that answers with what the header said."""
    program = UNPACKED if UNPACKED.exists() else shutil.which("nginx")
    if not program:
        pytest.skip("nginx is neither installed nor in .peers: python bench/fetch.py fetches it")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    (tmp_path / "nginx.conf").write_text(CONFIGURATION.format(port=address[1]))
    argv = [program, "-p", tmp_path, "-e", "stderr", "-c", "nginx.conf"]
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    while not listens(address):
        assert process.poll() is None, "nginx ended"
    yield address[1]
    process.terminate()
    process.wait()


@pytest.mark.parametrize("target", ["127.0.0.1", pytest.param("::1", marks=pytest.mark.system)])
def test_nginx_reads_it(harness: Harness, receiver: int, target: str) -> None:
    """Another program, nginx, is told the client's address and port, and those it connected to, of either family."""
    sockets = open_listeners("tcp", ANY, 0, 1, dual=True)
    port = sockets[0].getsockname()[1]
    harness.plane.serve("tcp", sockets, "127.0.0.1", [receiver], source=PROXY_V2)
    client = harness.connect((target, port))
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b"".join(iter(lambda: client.recv(1 << 16), b"")).decode()
    assert answer.endswith(f"{target} {client.getsockname()[1]} {target} {port}")


def listens(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0
