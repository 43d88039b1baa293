"""Milvus' standalone server of the PyPI package ``milvus`` while a test needs it: python standalone_server.py FOLDER.

It runs below a process that ends it as soon as its own stdin closes, so that it never outlives the tests, not even when
they are killed. The server listens on all interfaces (2.3 cannot be told otherwise), so that it asks for a password.
"""

import json
import socket
import sys
from pathlib import Path

_STARTED = 90_000  # milliseconds
# Its built-in etcd takes ports 2379 and 2380, whatever the configuration says, unless it has a file of its own.
_ETCD = """\
name: default
listen-client-urls: http://127.0.0.1:{client}
advertise-client-urls: http://127.0.0.1:{client}
listen-peer-urls: http://127.0.0.1:{peer}
initial-advertise-peer-urls: http://127.0.0.1:{peer}
initial-cluster: default=http://127.0.0.1:{peer}
"""


def main(folder: Path) -> None:
    """Start, print the port as JSON, wait for the end of stdin, stop."""
    from milvus import MilvusServer, MilvusServerConfig

    folder.mkdir(parents=True)
    etcd = folder / 'etcd.yaml'
    client, peer = _free_ports(2)
    etcd.write_text(_ETCD.format(client=client, peer=peer))
    config = MilvusServerConfig(data_dir=str(folder))
    config.template_text = config.template_text.replace('\netcd:\n', f'\netcd:\n  config:\n    path: {etcd}\n')
    config.set('authorization_enabled', True)
    server = MilvusServer(config, wait_for_started=False)
    try:
        server.start()
        server.wait_started(_STARTED)
        print(json.dumps({'port': server.listen_port}), flush=True)
        sys.stdin.read()
    finally:
        server.stop()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


if __name__ == '__main__':
    main(Path(sys.argv[1]).resolve())
