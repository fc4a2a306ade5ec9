"""Fetching from a local server that behaves, and from ones that do not."""

from __future__ import annotations

import errno
import gzip
import hashlib
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from archrank.cli.data import data as app
from archrank.data import fetching
from archrank.data.fetching import FetchError, data_folder, fetch, import_files, verify
from archrank.data.tables import table
from archrank.data.tables.catalogue import SETS
from archrank.data.tables.raw import DamagedFileError
from archrank.data.tables.sources import Source, sources
from archrank.errors import InputError

HEAD = (
    "encoder_embed_dim,encoder_layer_num,encoder_ffn_embed_dim_avg,"
    "encoder_self_attention_heads_avg,decoder_embed_dim,decoder_layer_num,"
    "decoder_ffn_embed_dim_avg,decoder_self_attention_heads_avg,decoder_ende_attention_heads_avg,"
    "decoder_arbitrary_ende_attn_avg,latency_mean_encoder,latency_mean_decoder,"
    "latency_std_encoder,latency_std_decoder\n"
)
NAMES = ("wmt14ende_cpu_xeon_all.csv", "wmt14ende_gpu_titanxp_all.csv")
FILES = {
    name: (HEAD + f"640,6,2048,6,512,{number},1920,2,5,1,5.5,124.5,0.1,0.2\n" * 200).encode()
    for number, name in enumerate(NAMES)
}

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


def whole(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def gone(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_error(404)


def broken(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_error(503)


def other(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    whole(handler, body.replace(b"640", b"641"))


def longer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    whole(handler, body + b"more")


def truncated(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    whole(handler, body[: len(body) // 2])  # a proxy that cut the body and fixed the length


def cut(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.wfile.flush()
    handler.connection.close()


def stalled(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[:100])
    handler.wfile.flush()
    time.sleep(1.5)


def silent(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    time.sleep(1.5)


def dripping(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    handler.end_headers()
    for start in range(0, len(body), 100):
        handler.wfile.write(body[start : start + 100])
        handler.wfile.flush()
        time.sleep(0.2)


class Server:
    """Serves bodies by path; `answers` says for which file names how to misbehave."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rsplit("/", 1)[-1]
                served.asked.append(name)
                try:
                    if self.path in served.bodies:
                        served.answers.get(name, whole)(self, served.bodies[self.path])
                    else:
                        gone(self, b"")
                except OSError:  # the client has hung up, as it should
                    pass

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def small(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Return the set `hat_latency`, published as two small files."""
    public = tuple(
        Source("hat_latency", name, "some/one", "c0ffee", name, _hash(body), len(body))
        for name, body in FILES.items()
    )
    monkeypatch.setattr(fetching, "sources", lambda: public)
    server.bodies = {f"/some/one/c0ffee/{name}": body for name, body in FILES.items()}
    return server


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_fetch(small: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    done = fetch(
        "hat_latency",
        tmp_path,
        base_url=small.url,
        progress=lambda *step: seen.append(step),
    )
    assert done.fetched == NAMES
    assert done.written == ("hat_latency",)
    assert files(tmp_path) == [
        "hat_latency/hat_latency.parquet",
        *(f"hat_latency/raw/{name}" for name in NAMES),
    ]
    assert len(pd.read_parquet(tmp_path / "hat_latency/hat_latency.parquet")) == 400
    assert [step[:2] for step in seen] == [(0, 2), (1, 2), (2, 2)]


def test_what_is_there_is_not_fetched_again(small: Server, tmp_path: Path) -> None:
    small.answers = {NAMES[1]: gone}
    with pytest.raises(FetchError):
        fetch("hat_latency", tmp_path, base_url=small.url)
    small.answers, small.asked = {}, []
    done = fetch("hat_latency", tmp_path, base_url=small.url)
    assert done.present == NAMES[:1]
    assert done.fetched == NAMES[1:]
    assert small.asked == [NAMES[1]]


def test_a_spoilt_file_is_fetched_again(small: Server, tmp_path: Path) -> None:
    fetch("hat_latency", tmp_path, base_url=small.url)
    spoilt = tmp_path / "hat_latency" / "raw" / NAMES[0]
    spoilt.write_bytes(spoilt.read_bytes()[:-1])
    assert fetch("hat_latency", tmp_path, base_url=small.url).fetched == NAMES[:1]
    assert spoilt.read_bytes() == FILES[NAMES[0]]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (gone, "is no longer there"),
        (broken, "the server answered 503"),
        (other, "SHA-256 is not"),
        (longer, "is longer than"),
        (truncated, "is incomplete: "),
        (cut, "cut|whole"),
        (stalled, "silent for 0.4 seconds"),
        (silent, "silent for 0.4 seconds"),
        (dripping, "did not arrive within 1 seconds"),
    ],
)
def test_failures_leave_whole_files_only(
    small: Server, tmp_path: Path, answer: Answer, said: str
) -> None:
    small.answers = {NAMES[1]: answer}
    began = time.monotonic()
    with pytest.raises(FetchError, match=said) as caught:
        fetch("hat_latency", tmp_path, base_url=small.url, timeout=0.4, limit=1)
    assert time.monotonic() - began < 10
    assert NAMES[1] in str(caught.value)
    assert files(tmp_path) == [f"hat_latency/raw/{NAMES[0]}"]
    small.answers = {}
    fetch("hat_latency", tmp_path, base_url=small.url)
    assert len(pd.read_parquet(tmp_path / "hat_latency/hat_latency.parquet")) == 400


def test_a_failure_keeps_what_was_there(small: Server, tmp_path: Path) -> None:
    fetch("hat_latency", tmp_path, base_url=small.url)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    (tmp_path / "hat_latency" / "raw" / NAMES[1]).unlink()
    small.answers = {NAMES[1]: cut}
    with pytest.raises(FetchError):
        fetch("hat_latency", tmp_path, base_url=small.url, timeout=0.4)
    assert files(tmp_path) == sorted(before)[:-1]
    assert all((tmp_path / name).read_bytes() == before[name] for name in files(tmp_path))


def test_no_network(small: Server, tmp_path: Path) -> None:
    small.server.shutdown()
    small.server.server_close()
    with pytest.raises(FetchError, match=r"no connection.*HTTPS_PROXY"):
        fetch("hat_latency", tmp_path, base_url=small.url, timeout=0.4)
    assert files(tmp_path) == []


def test_an_interrupt_leaves_whole_files_only(
    small: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    def interrupted(*_: object, **__: object) -> Iterator[bytes]:
        yield b"x"
        raise KeyboardInterrupt

    monkeypatch.setattr(requests.Response, "iter_content", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("hat_latency", tmp_path, base_url=small.url)
    assert files(tmp_path) == []


def test_a_full_disk_while_fetching(
    small: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    def full(*_: object, **__: object) -> Iterator[bytes]:
        yield b"x"
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(requests.Response, "iter_content", full)
    with pytest.raises(FetchError, match="the disk is full"):
        fetch("hat_latency", tmp_path, base_url=small.url)
    assert files(tmp_path) == []


def test_a_full_disk_while_converting(
    small: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet

    def full(table: object, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pyarrow.parquet, "write_table", full)
        with pytest.raises(FetchError, match=r"the disk is full.*ARCHRANK_DATA"):
            fetch("hat_latency", tmp_path, base_url=small.url)
    assert files(tmp_path) == [f"hat_latency/raw/{name}" for name in NAMES]
    small.asked = []
    assert fetch("hat_latency", tmp_path, base_url=small.url).written == ("hat_latency",)
    assert small.asked == []


def test_a_folder_that_cannot_be_made(small: Server, tmp_path: Path) -> None:
    (tmp_path / "hat_latency").write_text("a file in the way")
    with pytest.raises(FetchError, match="cannot be written"):
        fetch("hat_latency", tmp_path, base_url=small.url)


def test_sets_that_cannot_be_fetched(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="archrank data import hw_gpt_bench PATH"):
        fetch("hw_gpt_bench", tmp_path)
    with pytest.raises(InputError, match="got 'nosuch'"):
        fetch("nosuch", tmp_path)
    assert files(tmp_path) == []


def test_sources_are_pinned() -> None:
    for source in sources():
        assert source.set in SETS
        if source.fetchable:
            assert len(str(source.commit)) == 40
            assert len(str(source.sha256)) == 64
            url = source.url(fetching.BASE_URL)
            assert url == (
                f"https://raw.githubusercontent.com/{source.repository}/{source.commit}/{source.path}"
            )
    assert not [s.file for s in sources() if s.file.endswith(".pt") and s.read]


@pytest.mark.parametrize("name", ["nats_sss", "nas_bench_macro", "nasbench201", "ofa_mbv3"])
def test_the_real_files(name: str, server: Server, shared_data: Path, tmp_path: Path) -> None:
    """As published, from a local server: fetch, verify, use."""
    wanted = [source for source in sources() if source.set == name and source.fetchable]
    for source in wanted:
        path = shared_data / name / "raw" / f"{source.file}.gz"
        if path.is_file():
            body = gzip.decompress(path.read_bytes())
        elif path.with_suffix("").is_file():
            body = path.with_suffix("").read_bytes()
        else:
            pytest.skip(f"the public files of {name} are not on this machine")
        server.bodies[f"/{source.repository}/{source.commit}/{source.path}"] = body
    done = fetch(name, tmp_path, base_url=server.url)
    assert len(done.fetched) == len(wanted)
    assert {finding.status for finding in verify(name, tmp_path)} == {"ok"}
    again = fetch(name, tmp_path, base_url=server.url)
    assert again.fetched == again.written == ()
    one = {"ofa_mbv3": "ofa_mobilenetv3"}.get(name, name)
    fetched, given = table(one, tmp_path), table(one, shared_data)
    assert fetched.architectures.tolist() == given.architectures.tolist()
    np.testing.assert_allclose(fetched.labels(), given.labels(), rtol=1e-6)


def test_import_a_folder_with_gzip_added(small: Server, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / f"{NAMES[0]}.gz").write_bytes(gzip.compress(FILES[NAMES[0]]))
    (given / NAMES[1]).write_bytes(FILES[NAMES[1]])
    (given / "notes.txt").write_text("not mine")
    done = import_files("hat_latency", given, tmp_path / "data")
    assert sorted(done.fetched) == sorted(NAMES)
    assert done.written == ("hat_latency",)
    assert small.asked == []
    assert "hat_latency/raw/notes.txt" not in files(tmp_path / "data")


def test_import_a_zip_archive_and_single_files(small: Server, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr(f"some/folder/{NAMES[0]}", FILES[NAMES[0]])
    done = import_files("hat_latency", tmp_path / "all.zip", tmp_path / "data")
    assert done.fetched == NAMES[:1]
    (tmp_path / NAMES[1]).write_bytes(FILES[NAMES[1]])
    import_files("hat_latency", tmp_path / NAMES[1], tmp_path / "data")
    frame = pd.read_parquet(tmp_path / "data/hat_latency/hat_latency.parquet")
    assert len(frame) == 400


def test_import_refuses(small: Server, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (tmp_path / NAMES[0]).write_bytes(FILES[NAMES[0]] + b"spoilt")
    with pytest.raises(FetchError, match="is not the file that was published"):
        import_files("hat_latency", tmp_path / NAMES[0], folder)
    (tmp_path / "other.csv").write_text("a,b")
    with pytest.raises(InputError, match="holds no file of 'hat_latency'"):
        import_files("hat_latency", tmp_path / "other.csv", folder)
    with pytest.raises(InputError, match="there is nothing at"):
        import_files("hat_latency", tmp_path / "nothing", folder)
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(f"../{NAMES[0]}", FILES[NAMES[0]])
    with pytest.raises(DamagedFileError, match="outside"):
        import_files("hat_latency", tmp_path / "evil.zip", folder)
    (tmp_path / "hat_latency.parquet").write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(InputError, match="is not the table"):
        import_files("hat_latency", tmp_path / "hat_latency.parquet", folder)
    pd.DataFrame({"source": ["x"]}).to_parquet(tmp_path / "hat_latency.parquet")
    with pytest.raises(InputError, match="has no columns encoder_embed_dim"):
        import_files("hat_latency", tmp_path / "hat_latency.parquet", folder)
    assert files(folder) == []


def test_import_compact_tables_and_verify(shared_data: Path, tmp_path: Path) -> None:
    import_files("nas_bench_macro", shared_data / "nas_bench_macro" / "nb_macro.parquet", tmp_path)
    assert [finding.status for finding in verify("nas_bench_macro", tmp_path)] == ["ok"]
    assert len(table("nas_bench_macro", tmp_path)) == 6561
    path = tmp_path / "nas_bench_macro" / "nb_macro.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    (finding,) = verify("nas_bench_macro", tmp_path)
    assert finding.status == "damaged"
    with pytest.raises(InputError, match=r"cannot be read.*archrank data fetch"):
        table("nas_bench_macro", tmp_path)


def test_a_table_that_holds_more_is_kept(shared_data: Path, tmp_path: Path) -> None:
    """The public files of NAS-Bench-201 lack some latencies of the compact table."""
    shutil.copytree(shared_data / "nasbench201", tmp_path / "nasbench201")
    done = import_files("nasbench201", shared_data / "nasbench201" / "raw", tmp_path)
    assert done.kept == ("nb201_hardware",)
    assert "help_pixel3" in table("nasbench201", tmp_path).hardware


def test_all_shared_sets_are_whole(shared_data: Path) -> None:
    assert [finding for finding in verify(None, shared_data) if finding.status == "damaged"] == []


def test_where_the_data_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHRANK_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.delenv("ARCHRANK_DATA")
    assert data_folder().name == "archrank"


def invoke(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_command(small: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHRANK_DATA", str(tmp_path))
    monkeypatch.setattr(fetching, "BASE_URL", small.url)
    code, out, _ = invoke("list")
    assert code == 0
    assert "nasbench201" in out
    assert "to fetch" in out
    assert "to import" in out
    code, out, err = invoke("fetch", "hat")
    assert code == 0, err
    assert "written: hat_latency.parquet" in out
    assert f"1/2 {NAMES[0]}" in err
    assert invoke("verify", "hat")[0] == 1  # two small files are not the published set
    assert "damaged  hat_latency/hat_latency.parquet  has 400 rows" in invoke("verify")[1]
    code, out, err = invoke("fetch", "nosuch")
    assert (code, out) == (2, "")
    assert "error: name: got 'nosuch'" in err
    code, _, err = invoke("import", "hat_latency", str(tmp_path / "nothing"))
    assert code == 2
    assert "there is nothing at" in err
    small.answers = {NAMES[0]: gone}
    (tmp_path / "hat_latency" / "raw" / NAMES[0]).unlink()
    code, _, err = invoke("fetch", "hat")
    assert code == 1
    assert "is no longer there" in err
    assert "Traceback" not in err
