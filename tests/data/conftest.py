"""Small data sets in the published formats, and a server on the loopback interface."""

import gzip
import hashlib
import http.server
import threading
from typing import NamedTuple

import numpy as np
import pytest

from jaxvae.data.sources import Original, Source


def idx_bytes(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Published(NamedTuple):
    """A source and the bytes of its files."""

    source: Source
    files: dict
    arrays: dict

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return folder


def publish(name, seed):
    generator = np.random.default_rng(seed)
    arrays = {
        "train-images.gz": generator.integers(0, 256, (20, 4, 3), dtype=np.uint8),
        "train-labels.gz": generator.integers(0, 10, 20, dtype=np.uint8),
        "test-images.gz": generator.integers(0, 256, (7, 4, 3), dtype=np.uint8),
        "test-labels.gz": generator.integers(0, 10, 7, dtype=np.uint8),
    }
    contents = {file: idx_bytes(array) for file, array in arrays.items()}
    files = {file: gzip.compress(content, mtime=0) for file, content in contents.items()}
    originals = tuple(
        Original(file, f"{file} of {name}", sha256(files[file]), sha256(contents[file]))
        for file in files
    )
    return Published(Source(name, originals, mirrors=()), files, arrays)


@pytest.fixture
def alpha():
    return publish("alpha", seed=1)


@pytest.fixture
def beta():
    return publish("beta", seed=2)


class Server(NamedTuple):
    """Answers with ``bodies[path]``; ``promised[path]`` is a Content-Length that is not kept."""

    address: str
    bodies: dict
    promised: dict
    requests: list
    stop: object


@pytest.fixture
def server():
    bodies, promised, requests = {}, {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            body = bodies.get(self.path)
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(promised.get(self.path, len(body))))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    stopped = []

    def stop():
        if not stopped:
            stopped.append(True)
            listener.shutdown()
            listener.server_close()
            thread.join()

    yield Server(f"http://127.0.0.1:{listener.server_port}/", bodies, promised, requests, stop)
    stop()


@pytest.fixture
def without_environment(monkeypatch):
    monkeypatch.delenv("JAXVAE_DATA", raising=False)
