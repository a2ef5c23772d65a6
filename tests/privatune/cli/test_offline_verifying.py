"""What forgers and strangers put before the offline verifiers: each gets an answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.packaging.signing import generate_key
from privatune.cli.exits import Exit
from tenants.trail.certificates import sign_certificate
from tenants.trail.chain import VERSION, link_digest
from tenants.trail.heads import fingerprint, public_pem, sign_head
from tests.privatune.cli.conftest import Run

KEY, THIEF = generate_key(), generate_key()
REAL, THIEFS = fingerprint(public_pem(KEY)), fingerprint(public_pem(THIEF))
FACTS = {
    "tenant": "7b0c",
    "slug": "acme",
    "key_fingerprint": "sha256:1",
    "key_destroyed_at": "2026-01-01",
    "finished_at": "2026-01-01",
    "destroyed": {"objects": 3},
    "backups": {"may_hold_the_wrapped_key_until": None},
}
DEEP = "[" * 200_000 + "]" * 200_000


def certificate(key: bytes = KEY, **changed: Any) -> str:
    return json.dumps(sign_certificate(key, FACTS) | changed)


def export(entries: int = 3, heads: tuple[int, ...] = (2, 3), **head: Any) -> list[str]:
    """A trail as the server exports it, `head` changed in every signed head."""
    records: list[dict[str, Any]] = [
        {"type": "export", "format": "privatune-audit", "version": 1, "tenant": "7b0c"}
        | {"public_key_pem": public_pem(KEY)}
    ]
    digests = [""]
    for seq in range(1, entries + 1):
        entry: dict[str, Any] = {"tenant": "7b0c", "seq": seq, "previous": digests[-1]}
        entry |= {"version": VERSION, "kind": "system", "actor": "a", "user_id": None}
        entry |= {"key_id": None, "action": "x", "target": "t", "data": {}, "at": "2026-01-01"}
        digests.append(link_digest(entry))
        records.append({"type": "entry", **entry, "digest": digests[-1]})
    for seq in heads:
        signed = sign_head(KEY, tenant="7b0c", seq=seq, digest=digests[seq], at="2026-01-01")
        records.append({"type": "head", **signed, **head})
    end = {"entries": entries, "heads": len(heads), "last_digest": digests[-1]}
    return [json.dumps(record) for record in [*records, {"type": "end", **end}]]


@pytest.fixture
def check(run: Run, tmp_path: Path) -> Any:
    def _check(command: str, text: str, *options: str) -> tuple[int, str]:
        path = tmp_path / "given"
        path.write_text(text, encoding="utf-8")
        done = run(*command.split(), str(path), *options)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert "Traceback" not in done.output
        return done.exit_code, done.output

    return _check


def test_a_certificate_says_who_signed_it_and_what_that_was_compared_with(check: Any) -> None:
    code, said = check("verify-certificate", certificate())
    assert (code, REAL in said, "nothing: give --key" in said) == (0, True, True), said
    code, said = check("verify-certificate", certificate(), "--fingerprint", REAL)
    assert (code, "the fingerprint you gave" in said) == (0, True), said
    code, said = check("verify-certificate", certificate(), "--json")
    told = json.loads(said)
    assert (code, told["ok"], told["signer"], told["trust"]) == (0, True, REAL, "embedded")


def test_a_forger_cannot_name_the_operator_as_the_signer(check: Any, tmp_path: Path) -> None:
    forged = certificate(THIEF, signer=REAL)
    code, said = check("verify-certificate", forged)
    assert (code, f"but {THIEFS} signed it" in said) == (Exit.FAILED, True), said
    assert "verified" not in said
    told = json.loads(check("verify-certificate", forged, "--json")[1])
    assert (told["ok"], told["signer"]) == (False, THIEFS)
    operators = tmp_path / "operator.pem"
    operators.write_text(public_pem(KEY))
    for given in (("--key", str(operators)), ("--fingerprint", REAL)):
        assert check("verify-certificate", forged, *given)[0] == Exit.FAILED


def test_a_head_that_names_another_signer_is_refused(check: Any) -> None:
    assert check("audit verify", "\n".join(export()))[0] == 0
    code, said = check("audit verify", "\n".join(export(signer=THIEFS)))
    assert (code, f"but {REAL} signed it" in said) == (Exit.FAILED, True), said


TWICE = '{"slug": "other", '


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (DEEP, "levels deep"),
        (certificate(note=json.loads("[" * 80 + "]" * 80)), "levels deep"),
        (certificate(signature="sïgned"), "does not fit"),
        (certificate(signature=None), "does not fit"),
        (certificate(note="\ud800"), "surrogate"),
        (certificate(public_key_pem="\udfff"), "surrogate"),
        (TWICE + certificate()[1:], "'slug' twice"),
        (certificate()[:-1] + ', "note": NaN}', "NaN"),
        (json.dumps(sign_certificate(KEY, {})), "lacks what"),
    ],
    ids=["deep", "deeper", "signature", "none", "surrogate", "key", "twice", "nan", "empty"],
)
def test_an_odd_certificate_gets_an_answer(check: Any, text: str, why: str) -> None:
    for options in ((), ("--fingerprint", REAL)):
        code, said = check("verify-certificate", text, *options)
        assert (code, why in said) == (Exit.FAILED, True), said
    told = json.loads(check("verify-certificate", text, "--json")[1])
    assert (told["ok"], why in told["problem"]) == (False, True)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (DEEP, "levels deep"),
        (export(signature="sïgned")[-2], "signature of the head"),
        (export(digest="\ud800")[-2], "surrogate"),
        ('{"type":"entry",' + export()[3][1:], "'type' twice"),
        ('{"type":["entry"]}', "misspells"),
    ],
    ids=["deep", "signature", "surrogate", "twice", "type"],
)
def test_an_odd_line_of_an_export_gets_an_answer(check: Any, line: str, why: str) -> None:
    lines = export()
    code, said = check("audit verify", "\n".join([*lines[:-2], line, lines[-1]]))
    assert (code, why in said) == (Exit.FAILED, True), said


def test_an_unreadable_earlier_export_is_not_compared_in_part(check: Any, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("\n".join([*export()[:2], "no json"]))
    code, said = check("audit verify", "\n".join(export()), "--since", str(kept))
    assert (code, "line 3 of the earlier export" in said) == (Exit.USAGE, True), said


def test_an_export_cut_at_an_older_head_is_verified_up_to_there(check: Any, tmp_path: Path) -> None:
    cut = "\n".join(export(2, (2,)))
    code, said = check("audit verify", cut)
    assert (code, "verified up to entry 2" in said, "--since" in said) == (0, True, True), said
    code, said = check("audit verify", "\n".join(export(3, (2,))))
    assert (code, "up to entry 2" in said, "up to 3 are chained" in said) == (0, True, True), said
    code, said = check("audit verify", "\n".join(export(0, ())), "--fingerprint", REAL)
    assert (code, "no fitting signed head" in said) == (Exit.FAILED, True), said
    kept = tmp_path / "kept"
    kept.write_text("\n".join(export()))
    assert check("audit verify", cut, "--since", str(kept))[0] == Exit.FAILED
