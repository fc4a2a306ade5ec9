"""Published files to tables: against the compact tables, and with files that are hostile or cut."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from archrank.data.tables import raw
from archrank.data.tables.importing import convert, importers, without_sentinels
from archrank.data.tables.raw import DamagedFileError, Raw, tfrecord, tfrecords
from archrank.errors import InputError

# Columns of the compact tables for which no public file is known.
NO_SOURCE = {
    "nb201_hardware": ("help_", "brpnas_"),
    "tnb101_micro": ("fisher_jigsaw",),
    "accel_nasbench": ("params", "macs", "latency_", "throughput_"),
}
# A set whose public file is kept with another's.
ELSEWHERE = {"nasbench101_small": "nbsuite_zero"}


@pytest.mark.parametrize("name", importers())
def test_public_files_give_the_compact_tables(name: str, shared_data: Path) -> None:
    folder = shared_data / ELSEWHERE.get(name, name) / "raw"
    if not folder.is_dir():
        pytest.skip(f"the public files of {name} are not on this machine")
    found = convert(name, Raw(folder))
    assert found
    for file, frame in found.items():
        wanted = without_sentinels(pd.read_parquet(shared_data / name / f"{file}.parquet"))
        without = NO_SOURCE.get(file, ())
        columns = [column for column in wanted if not (without and column.startswith(without))]
        assert sorted(frame.columns) == sorted(columns)
        for column in columns:
            assert frame[column].isna().tolist() == wanted[column].isna().tolist(), column
            if pd.api.types.is_numeric_dtype(wanted[column]):
                assert frame[column].dtype == wanted[column].dtype, column
                values = frame[column].to_numpy(dtype=float)
                np.testing.assert_allclose(values, wanted[column].to_numpy(float), rtol=1e-6)
            else:
                assert frame[column].tolist() == wanted[column].tolist(), column


def test_missing_files_and_unknown_sets_are_named(tmp_path: Path) -> None:
    for name in importers():
        with pytest.raises(InputError, match="there is no such file"):
            convert(name, Raw(tmp_path))
    with pytest.raises(InputError, match="got 'hw_gpt_bench'"):
        convert("hw_gpt_bench", Raw(tmp_path))


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"x": 1}', '{"x": {"test_acc": []}}'])
def test_files_with_other_content_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "nas-bench-macro_cifar10.json").write_text(content)
    with pytest.raises(DamagedFileError, match="again"):
        convert("nas_bench_macro", Raw(tmp_path))


def test_sentinels_become_missing() -> None:
    frame = pd.DataFrame({"a": [1.0, -1e8], "b": [np.inf, -np.inf], "c": ["x", "-1e8"]})
    found = without_sentinels(frame)
    assert found["a"].isna().tolist() == [False, True]
    assert found["b"].isna().all()
    assert found["c"].tolist() == ["x", "-1e8"]


def test_cut_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps({"x": "y" * 1000}).encode())
    (tmp_path / "a.json.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedFileError, match="get the file again"):
        Raw(tmp_path).json("a.json")


@pytest.mark.parametrize(
    "member", ["../evil.json", "/etc/evil.json", "a/../../b.json", "C:\\b.json"]
)
def test_archives_that_lead_outside_are_refused(tmp_path: Path, member: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good.json", "[]")
        archive.writestr(member, "[]")
    with pytest.raises(DamagedFileError, match="outside"):
        list(Raw(tmp_path).zipped_json("a.zip"))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo(member), io.BytesIO())
    with pytest.raises(DamagedFileError, match="outside"):
        list(Raw(tmp_path).tarred_json("a.tar.gz"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "a.zip"]


def test_archives_that_unpack_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "LARGEST", 1000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", " " * 5000)
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b" " * 5000))
    with pytest.raises(DamagedFileError, match="unpacks to more"):
        list(Raw(tmp_path).zipped_json("a.zip"))
    with pytest.raises(DamagedFileError, match="unpacks to more"):
        Raw(tmp_path).json("a.json")


def test_cut_archives(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 no archive")
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(b"no archive" * 100)[:-4])
    with pytest.raises(DamagedFileError):
        list(Raw(tmp_path).zipped_json("a.zip"))
    with pytest.raises(DamagedFileError):
        list(Raw(tmp_path).tarred_json("a.tar.gz"))


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("!!python/object/apply:os.system ['echo evil']")
    with pytest.raises(DamagedFileError, match="python/object"):
        Raw(tmp_path).yaml("a.yml")


def test_tfrecord_checksums() -> None:
    # the checksum of "123456789" is the published check value of CRC-32C: 0xe3069283
    crc = 0xE3069283
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert tfrecord(b"123456789")[-4:] == masked.to_bytes(4, "little")
    content = tfrecord(b"one") + tfrecord(b"") + tfrecord(b"three")
    assert list(tfrecords(content, "x")) == [b"one", b"", b"three"]
    for at in (0, 9, 13, 16):
        spoilt = bytearray(content)
        spoilt[at] ^= 1
        with pytest.raises(DamagedFileError, match="checksum"):
            list(tfrecords(bytes(spoilt), "x"))
    for size in (5, 14, len(content) - 1):
        with pytest.raises(DamagedFileError, match="is cut"):
            list(tfrecords(content[:size], "x"))


def test_records_that_are_no_trainings(tmp_path: Path) -> None:
    (tmp_path / "energy_5V.tfrecord").write_bytes(
        tfrecord(b'["hash", 4, "0100", "input,output", ""]')
    )
    with pytest.raises(DamagedFileError, match="not a training"):
        convert("ec_nas", Raw(tmp_path))


def test_nothing_is_unpickled_and_torch_is_not_needed() -> None:
    folder = Path(__file__).parents[3] / "data"
    for file in (*(folder / "tables").rglob("*.py"), folder / "fetching.py"):
        text = file.read_text()
        for word in ("import pickle", "pickle.load", "torch.load", "np.load", "read_pickle"):
            assert word not in text, f"{file.name}: {word}"
    code = (
        "import sys, archrank.data.fetching, archrank.data.tables.importing; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_zoo_leaves_families_out_that_are_kept_to_judge_with(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    head = "model,top1,top1_err,top5,top5_err,param_count,img_size,crop_pct,interpolation"
    rows = (
        "vit_tiny_patch16_224.augreg_in21k_ft_in1k,75.4,24.6,92.8,7.2,5.72,224,0.900,bicubic",
        "resnet18.a1_in1k,73.1,26.9,91.0,9.0,11.69,288,1.000,bicubic",
        "convnext_tiny.in12k_ft_in1k,1.0,99.0,1.0,99.0,28.59,224,0.950,bicubic",
        "resnet18.a1_in1k,71.5,28.5,90.1,9.9,11.69,224,0.950,bicubic",
        '"vit_giant_patch14_224.made_up",1.0,99.0,1.0,99.0,"1,012.6",224,0.950,bicubic',
    )
    (tmp_path / "results-imagenet.csv").write_text("\n".join([head, *rows]))
    (tmp_path / "results-sketch.csv").write_text(
        f"{head},top1_diff\nresnet18.a1_in1k,20.1,79.9,40.0,60.0,11.69,288,1.000,bicubic,-53.0"
    )
    (tmp_path / "benchmark-infer-amp-nchw-pt291-cu128-4090.csv").write_text(
        "model,infer_samples_per_sec,infer_step_time,infer_batch_size,infer_img_size,infer_gmacs,"
        "infer_macts,param_count\nresnet18.a1_in1k,9000.5,113.7,1024,224,1.82,2.48,11.69"
    )
    found = convert("imagenet_zoo", Raw(tmp_path))
    accuracy = found["accuracy"]
    assert accuracy["architecture"].tolist() == [
        *("resnet18", "resnet18", "vit_giant_patch14_224", "vit_tiny_patch16_224")
    ]
    assert accuracy["family"].tolist() == ["resnetish", "resnetish", "vit", "vit"]
    assert accuracy["tag"].iloc[0] == "a1_in1k"
    assert accuracy["img_size"].tolist() == [288, 224, 224, 224]
    assert accuracy["params_M"].iloc[2] == 1012.6
    assert accuracy["top1_sketch"].tolist()[:2] == [20.1, 20.1]
    assert accuracy["top1_sketch"].isna().tolist()[2:] == [True, True]
    assert "top1_v2" not in accuracy
    (speed,) = found["speed"].to_dict("records")
    assert speed["device"] == "rtx4090"
    assert (speed["architecture"], speed["img_size"], speed["gmacs"]) == ("resnet18", 224, 1.82)
