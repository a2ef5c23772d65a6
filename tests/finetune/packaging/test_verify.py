"""Whatever is done to an artifact after signing, however small, verifying finds it."""

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults import UserFault
from finetune.packaging.bundle import tar
from finetune.packaging.files import pretty_json
from finetune.packaging.manifest import Manifest
from finetune.packaging.signing import generate_key, load_signer
from finetune.packaging.verify import verify

SMALL = ["model.sig", "manifest.json", "signer.pem"]


@pytest.fixture
def copy(artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact, tmp_path / "copy"))


@pytest.fixture(scope="module")
def packed(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "artifact.tar"
    tar(artifact, path)
    return path


def codes(path: Path, **trust) -> set[str]:
    report = verify(path, **trust)
    assert report.ok is not bool(report.problems)
    return {problem.code for problem in report.problems}


def relisted(folder: Path) -> bytes:
    """What a forger would write, who changed a file and lists it anew."""
    needs = Manifest.model_validate_json((folder / "manifest.json").read_bytes()).needs
    assert needs is not None
    return Manifest.of(folder, needs).encoded()


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_an_untouched_artifact_verifies_as_folder_and_tar(built, packed, signer):
    folder, info = built
    for path in (folder, packed):
        report = verify(path, signer.public_pem)
        assert report.ok, report.problems
        assert (report.digest, report.signer) == (info.digest, signer.fingerprint)
        assert report.trust == "key"


def test_the_report_says_what_the_trust_rests_on(artifact, signer):
    assert verify(artifact).trust == "embedded"
    by_print = verify(artifact, trusted_fingerprint=signer.fingerprint)
    assert (by_print.ok, by_print.trust) == (True, "fingerprint")


def test_the_fingerprint_is_what_openssl_says(artifact, signer):
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", artifact / "signer.pem", "-outform", "DER"],
        capture_output=True,
        check=True,
    ).stdout
    assert signer.fingerprint == "sha256:" + hashlib.sha256(der).hexdigest()


def test_an_artifact_of_the_first_format_still_verifies(copy, signer):
    """It said nothing of what it needs, and had no tokenizer."""
    shutil.rmtree(copy / "tokenizer")
    listed = json.loads(relisted(copy))
    del listed["needs"]
    listed["format"] = "privatune-artifact/1"
    (copy / "manifest.json").write_bytes(pretty_json(listed))
    (copy / "model.sig").unlink()
    signer.sign(copy, copy / "model.sig")
    report = verify(copy, signer.public_pem)
    assert report.ok, report.problems


def test_what_an_artifact_needs_belongs_to_its_format(copy):
    listed = json.loads((copy / "manifest.json").read_bytes())
    for wrong in ({**listed, "needs": None}, {**listed, "format": "privatune-artifact/1"}):
        (copy / "manifest.json").write_bytes(pretty_json(wrong))
        assert "manifest" in codes(copy)


def test_another_signer_is_not_the_expected_one(artifact):
    other = load_signer(generate_key())
    assert "wrong_signer" in codes(artifact, public_key_pem=other.public_pem)
    assert "wrong_signer" in codes(artifact, trusted_fingerprint=other.fingerprint)


def test_a_forger_who_signs_anew_has_another_fingerprint(copy, signer):
    forger = load_signer(generate_key())
    (copy / "license.json").write_text("{}")
    (copy / "signer.pem").write_text(forger.public_pem)
    (copy / "manifest.json").write_bytes(relisted(copy))
    (copy / "model.sig").unlink()
    forger.sign(copy, copy / "model.sig")
    assert verify(copy).ok  # whole, but nobody vouches for the key
    assert codes(copy, public_key_pem=signer.public_pem) == {"wrong_signer"}


def test_the_signers_key_put_over_a_forgers_signature_fails(copy, signer):
    forger = load_signer(generate_key())
    (copy / "license.json").write_text("{}")
    (copy / "manifest.json").write_bytes(relisted(copy))
    (copy / "model.sig").unlink()
    forger.sign(copy, copy / "model.sig")
    assert codes(copy, public_key_pem=signer.public_pem) == {"signature"}


def test_a_flipped_bit_in_any_file_is_found(copy):
    choose = random.Random(0)
    for name in names(copy):
        path = copy / name
        data = path.read_bytes()
        for at in {0, len(data) - 1, *(choose.randrange(len(data)) for _ in range(2))}:
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            assert not verify(copy).ok, (name, at)
        path.write_bytes(data)
    assert verify(copy).ok


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_every_byte_of_the_small_sealed_files_counts(name, copy):
    path = copy / name
    data = path.read_bytes()
    choose = random.Random(0)
    for at in range(0, len(data), 1 if len(data) < 400 else 7):
        changed = (data[at] ^ (1 << choose.randrange(8))) & 0xFF
        path.write_bytes(data[:at] + bytes([changed]) + data[at + 1 :])
        assert not verify(copy).ok, (name, at, data[at], changed)


@pytest.mark.parametrize("spelled", [lambda t: t + "\n", lambda t: t.replace('":', '": ', 1)])
@pytest.mark.parametrize("name", ["model.sig", "manifest.json"])
def test_another_spelling_of_a_sealed_file_is_refused(name, spelled, copy):
    (copy / name).write_text(spelled((copy / name).read_text()))
    assert not verify(copy).ok


def test_a_removed_file_is_missed(copy):
    for name in names(copy):
        data = (copy / name).read_bytes()
        (copy / name).unlink()
        assert not verify(copy).ok, name
        (copy / name).write_bytes(data)


def test_a_renamed_file_is_both_missing_and_added(copy):
    (copy / "license.json").rename(copy / "licence.json")
    assert {"missing", "added"} <= codes(copy)


def test_two_files_that_change_places_are_found(copy):
    (copy / "license.json").rename(copy / "x")
    (copy / "passport.json").rename(copy / "license.json")
    (copy / "x").rename(copy / "passport.json")
    assert "changed" in codes(copy)


@pytest.mark.parametrize(
    "name",
    [".git/config", ".gitignore", ".gitattributes", ".github/x.yml", "adapter/extra", "a/b/c"],
)
def test_an_added_file_is_found_also_those_of_git(name, copy):
    (copy / name).parent.mkdir(parents=True, exist_ok=True)
    (copy / name).write_text("")
    assert "added" in codes(copy)


def test_an_added_empty_folder_is_found(copy):
    (copy / ".git" / "objects").mkdir(parents=True)
    assert codes(copy) == {"added"}


def test_a_link_in_place_of_a_file_is_refused_even_with_the_same_content(copy, tmp_path):
    (copy / "license.json").rename(tmp_path / "license.json")
    (copy / "license.json").symlink_to(tmp_path / "license.json")
    assert "not_plain" in codes(copy)


def test_a_link_in_place_of_a_folder_is_refused(copy, tmp_path):
    (copy / "adapter").rename(tmp_path / "adapter")
    (copy / "adapter").symlink_to(tmp_path / "adapter")
    assert "not_plain" in codes(copy)


def test_a_pipe_is_refused_without_being_opened(copy):
    os.mkfifo(copy / "pipe")
    assert "not_plain" in codes(copy)


def test_what_is_no_artifact_is_said_to_be_none(tmp_path):
    assert codes(tmp_path / "nowhere") == {"not_an_artifact"}
    (tmp_path / "empty").mkdir()
    assert "manifest" in codes(tmp_path / "empty")
    (tmp_path / "text.tar").write_text("hello")
    assert codes(tmp_path / "text.tar") == {"archive"}


def test_a_key_that_is_none_is_the_callers_fault(artifact):
    with pytest.raises(UserFault) as fault:
        verify(artifact, "not a key")
    assert fault.value.code == "public_key"


def repack(packed: Path, target: Path, change) -> Path:
    """The members of `packed`, as (TarInfo, bytes), rewritten by `change`."""
    with tarfile.open(packed) as source:
        members = [(entry, source.extractfile(entry).read()) for entry in source]
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as out:
        for entry, data in change(members):
            entry.size = len(data) if entry.isreg() else 0
            out.addfile(entry, io.BytesIO(data))
    return target


def _named(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry


HOSTILE = {
    "leads out": _named("../outside"),
    "leads out deep down": _named("adapter/../../outside"),
    "absolute": _named("/tmp/privatune-outside"),
    "dot": _named("./license2.json"),
    "doubled": _named("license.json"),
    "link": _named("link", tarfile.SYMTYPE, "/etc/passwd"),
    "hard link": _named("hard", tarfile.LNKTYPE, "license.json"),
    "device": _named("null", tarfile.CHRTYPE),
    "pipe": _named("pipe", tarfile.FIFOTYPE),
    "folder": _named("adapter", tarfile.DIRTYPE),
    "file in a file": _named("license.json/x"),
    "too long": _named("x" * 3000),
    "too deep": _named("a/" * 2000 + "a"),
    "added": _named("added.txt"),
    "git": _named(".git/config"),
}


@pytest.mark.parametrize("entry", HOSTILE.values(), ids=HOSTILE)
def test_a_tar_with_a_hostile_member_is_refused(entry, packed, tmp_path):
    bad = repack(packed, tmp_path / "bad.tar", lambda members: [*members, (entry, b"")])
    assert codes(bad) & {"archive", "added"}
    assert not (tmp_path / "outside").exists()
    assert not Path("/tmp/privatune-outside").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members[::-1],
        lambda members: [(entry.replace(mtime=1, deep=False), data) for entry, data in members],
        lambda members: [
            (entry.replace(uname="root", deep=False), data) for entry, data in members
        ],
    ],
    ids=["order", "time", "owner"],
)
def test_a_tar_packed_in_another_way_is_refused(change, packed, tmp_path):
    assert codes(repack(packed, tmp_path / "bad.tar", change)) == {"archive"}


def test_a_tar_without_one_of_its_files_is_refused(packed, tmp_path):
    bad = repack(packed, tmp_path / "bad.tar", lambda members: members[1:])
    assert "missing" in codes(bad)


def test_bytes_after_the_end_of_a_tar_are_refused(packed, tmp_path):
    (tmp_path / "long.tar").write_bytes(packed.read_bytes() + b"\0" * 512)
    assert codes(tmp_path / "long.tar") == {"archive"}


def test_a_tar_that_was_cut_off_is_refused(packed, tmp_path):
    data = packed.read_bytes()
    for keep in (0, 1, 512, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.tar").write_bytes(data[:keep])
        assert not verify(tmp_path / "cut.tar").ok


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_flipped_bit_anywhere_in_a_tar_is_found(data, packed, tmp_path_factory):
    content = bytearray(packed.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    bad = tmp_path_factory.mktemp("flipped") / "bad.tar"
    bad.write_bytes(content)
    assert not verify(bad).ok
