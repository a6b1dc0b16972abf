import socket

import pytest

from jaxvae.data.idx import read_idx_set
from jaxvae.data.sources import in_folder, obtain

# A transfer that breaks off leaves a socket that requests closes only when it is collected.
pytestmark = [
    pytest.mark.usefixtures("without_environment"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


def mirrored(published, *mirrors):
    return published.source._replace(mirrors=mirrors)


def serve(server, published, folder=""):
    for name, content in published.files.items():
        server.bodies[f"/{folder}{name}"] = content
    return server.address + folder


@pytest.fixture
def refused():
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return f"http://127.0.0.1:{port}/"


def test_data_dir_holds_the_files_in_a_folder_of_the_sets_name_or_itself(alpha, tmp_path):
    inner = alpha.write(tmp_path / "a" / "alpha")
    outer = alpha.write(tmp_path / "b")
    for folder, root in ((inner, tmp_path / "a"), (outer, tmp_path / "b")):
        paths = obtain(alpha.source, root, tmp_path / "cache")
        assert paths == [folder / name for name in alpha.files]


def test_the_folder_of_the_sets_name_comes_first(alpha, beta, tmp_path):
    beta.write(tmp_path)
    alpha.write(tmp_path / "alpha")
    assert in_folder(alpha.source, tmp_path)[0].parent == tmp_path / "alpha"


def test_a_given_data_dir_without_the_files_is_an_error_even_with_a_mirror(alpha, server, tmp_path):
    source = mirrored(alpha, serve(server, alpha))
    alpha.write(tmp_path)
    (tmp_path / "test-labels.gz").unlink()
    with pytest.raises(ValueError, match=r"data_dir expected .* lacks test-labels\.gz$"):
        obtain(source, tmp_path, tmp_path / "cache")
    assert server.requests == []


def test_a_data_dir_that_is_no_folder_is_an_error(alpha, tmp_path):
    with pytest.raises(ValueError, match="absent is not a folder"):
        obtain(alpha.source, tmp_path / "absent", tmp_path / "cache")


def test_the_environment_names_a_folder(alpha, tmp_path, monkeypatch):
    alpha.write(tmp_path / "alpha")
    monkeypatch.setenv("JAXVAE_DATA", str(tmp_path))
    assert obtain(alpha.source, None, tmp_path / "cache")[0].parent == tmp_path / "alpha"


def test_data_dir_comes_before_the_environment(alpha, tmp_path, monkeypatch):
    alpha.write(tmp_path / "environment")
    alpha.write(tmp_path / "argument")
    monkeypatch.setenv("JAXVAE_DATA", str(tmp_path / "environment"))
    paths = obtain(alpha.source, tmp_path / "argument", tmp_path / "cache")
    assert paths[0].parent == tmp_path / "argument"


def test_an_environment_folder_without_the_set_is_passed_over(alpha, server, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("JAXVAE_DATA", str(tmp_path / "other"))
    cache = tmp_path / "cache"
    assert obtain(mirrored(alpha, serve(server, alpha)), None, cache)[0].parent == cache


def test_a_download_gives_the_published_files_with_a_progress_bar(alpha, server, tmp_path, capsys):
    source = mirrored(alpha, serve(server, alpha))
    paths = obtain(source, None, tmp_path)
    assert {path.name: path.read_bytes() for path in paths} == alpha.files
    assert "100%" in capsys.readouterr().err
    assert read_idx_set(source, paths, source.originals).test.inputs.shape == (7, 4, 3)


def test_the_second_time_the_cache_serves_with_the_server_gone(alpha, server, tmp_path):
    source = mirrored(alpha, serve(server, alpha))
    first = obtain(source, None, tmp_path)
    server.stop()
    assert obtain(source, None, tmp_path) == first
    assert len(server.requests) == len(alpha.files)


def test_a_file_damaged_in_the_cache_is_fetched_again(alpha, server, tmp_path):
    source = mirrored(alpha, serve(server, alpha))
    path = obtain(source, None, tmp_path)[2]
    path.write_bytes(path.read_bytes()[:-1])
    assert obtain(source, None, tmp_path)[2].read_bytes() == alpha.files[path.name]
    assert server.requests[4:] == [f"/{path.name}"]


@pytest.mark.parametrize("fault", ["absent", "wrong content", "broken off", "refused"])
def test_the_second_mirror_helps_when_the_first_fails(alpha, server, tmp_path, refused, fault):
    good = serve(server, alpha, "good/")
    first = refused if fault == "refused" else serve(server, alpha, "bad/")
    spoil(server, "/bad/train-labels.gz", fault)
    paths = obtain(mirrored(alpha, first, good), None, tmp_path)
    assert {path.name: path.read_bytes() for path in paths} == alpha.files
    assert "/good/train-labels.gz" in server.requests


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("absent", "404"), ("wrong content", "hash"), ("broken off", "IncompleteRead")],
)
def test_a_failed_download_leaves_nothing_and_says_why(alpha, server, tmp_path, fault, reason):
    source = mirrored(alpha, serve(server, alpha))
    spoil(server, "/train-images.gz", fault)
    with pytest.raises(ValueError, match=f"train-images.gz: .*{reason}") as caught:
        obtain(source, None, tmp_path)
    assert list(tmp_path.iterdir()) == []
    for way in (*alpha.files, "data_dir", "JAXVAE_DATA is not set", str(tmp_path), "tfds:alpha"):
        assert way in str(caught.value)
    assert source.mirrors[0] + "train-images.gz" in str(caught.value)


def spoil(server, path, fault):
    if path not in server.bodies:
        return
    body = server.bodies[path]
    if fault == "absent":
        del server.bodies[path]
    elif fault == "wrong content":
        server.bodies[path] = bytes([body[0] ^ 1]) + body[1:]
    else:
        server.bodies[path], server.promised[path] = body[: len(body) // 2], len(body)


def test_the_packed_file_stands_for_the_originals(alpha, tmp_path):
    source = alpha.source._replace(packed="all.npz")
    (tmp_path / "all.npz").touch()
    assert in_folder(source, tmp_path) == [tmp_path / "all.npz"]
    alpha.write(tmp_path)
    assert in_folder(source, tmp_path) == [tmp_path / name for name in alpha.files]
