"""A page tells every refusal in the person's language: each code in the source has its sentence."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils.translation import override

from finetune.records.check.formats import KINDS as FORMATS
from privatune.portal import kinds
from privatune.portal.refusals import IN_THEIR_LANGUAGE, kept, said
from privatune.portal.sentences import SENTENCES
from privatune.portal.sentences.programs import PROGRAMS
from tenants.errors import NotFound
from tests.fixtures.language import WORDS

ROOT = Path(__file__).resolve().parents[3]
CODE = re.compile(r"[a-z]+(_[a-z0-9]+)*")
RAISERS = re.compile(r"\w*(Fault|Error|Refused|NotFound|Invalid|Conflict|Unavailable|Gone|Down|Full"
                     r"|Missing|Waiting|UsedUp|Streams|Attempts|Problem|Destroyed|Damaged)"
                     r"|BadKey|too_many|fault|__init__")  # fmt: skip
# Where codes come from that a page can show, in a refusal or as the error of a job or a reading.
MET_AT_PAGES = [
    "faults", "tenants", "finetune/services", "finetune/records", "finetune/trainer",
    "finetune/grading", "finetune/sandbox", "finetune/serving", "finetune/packaging",
    "finetune/selectors.py",
    "finetune/work", "platform/privatune/portal", "platform/privatune/edge",
    "platform/privatune/problem_pages.py", "finetune/api/problems.py", "finetune/api/explaining.py",
]  # fmt: skip
# Doors of the API and of the operator's command line, which no page opens.
ELSEWHERE = [
    "tenants/services/uploads.py", "tenants/services/idempotency.py", "tenants/services/tenants.py",
    "tenants/services/files.py:invalid_expires_after",
    "tenants/services/key_use.py:address_not_allowed",
    "tenants/services/limits.py",
    "tenants/services/keys.py:line_of_keys_too_long",
    "tenants/access.py:invalid_api_key", "tenants/trail", "tenants/vault/keyfiles.py",
    "tenants/services/key_prints.py", "finetune/services/models/catalog.py",
    "finetune/services/shredding.py", "finetune/packaging/base", "finetune/packaging/archive.py",
    "finetune/packaging/oci.py",
    "finetune/packaging/verify.py", "finetune/packaging/signing.py:public_key",
    "finetune/serving/sockets.py", "finetune/records/check/codes.py", "finetune/serving/structured",
    "tenants/services/licences.py:license_not_found",
    "tenants/services/licences.py:license_revoked", "tenants/services/licences.py:license_exists",
    "tenants/services/licences.py:license_over",
    "platform/privatune/edge/rates.py:rate_limit_exceeded",
    "finetune/services/jobs/preview.py:whole_number",  # pydantic's kind; told as invalid_value
]  # fmt: skip
# Doors of the API, whose errors are told in other languages, too.
MET_BY_PROGRAMS = [
    "finetune/api", "tenants/access.py", "tenants/services/idempotency.py",
    "tenants/services/key_use.py", "tenants/services/keys.py", "tenants/services/licences.py",
    "tenants/services/uploads.py", "finetune/serving/structured", "platform/privatune/edge",
]  # fmt: skip
SHOWN_AS_FINDINGS = {  # raised for a row, and shown as the reading's problem (findings.py)
    "nothing_trained", "no_eos", "end_not_trained", "template_drops_content",
    "template_not_derivable", "bad_tool_arguments", "answers_apart",
}  # fmt: skip


def codes_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "code":
                    yield from texts(value)
        if isinstance(node, ast.Call) and node.args and RAISERS.fullmatch(name_of(node.func)):
            yield from texts(node.args[0])


def texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from [*texts(node.body), *texts(node.orelse)]
    elif isinstance(node, ast.Constant) and CODE.fullmatch(str(node.value)):
        yield str(node.value)


def name_of(function: ast.expr) -> str:
    return str(getattr(function, "attr", None) or getattr(function, "id", ""))


def met() -> dict[str, str]:
    """Every code that a page can show, and where it comes from."""
    found = {}
    for place in MET_AT_PAGES:
        files = [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py"))
        for path in files:
            where = str(path.relative_to(ROOT))
            if any(where.startswith(each) for each in ELSEWHERE if ":" not in each):
                continue
            for code in codes_in(path):
                if f"{where}:{code}" not in ELSEWHERE:
                    found[code] = where
    return found


def test_every_code_that_a_page_can_meet_has_a_sentence() -> None:
    found = met()
    assert len(found) > 100, "the scan finds next to nothing"
    without = {
        code: where
        for code, where in found.items()
        if code not in SENTENCES and code not in IN_THEIR_LANGUAGE | SHOWN_AS_FINDINGS
    }
    assert without == {}


def test_every_code_that_a_program_can_meet_has_a_sentence() -> None:
    found = {}
    for place in MET_BY_PROGRAMS:
        files = [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py"))
        found |= {code: str(path.relative_to(ROOT)) for path in files for code in codes_in(path)}
    assert len(found) > 30, "the scan finds next to nothing"
    known = SENTENCES.keys() | PROGRAMS.keys()
    without = {code: where for code, where in found.items() if code not in known}
    assert {code: at for code, at in without.items() if not code.endswith("_not_found")} == {}
    assert not SENTENCES.keys() & PROGRAMS.keys()


@pytest.mark.parametrize("code", [*SENTENCES, *PROGRAMS])
def test_every_sentence_is_told_in_chinese(code: str) -> None:
    sentence = {**SENTENCES, **PROGRAMS}[code]
    with override("zh-hans"):
        assert WORDS["zh-hans"].search(str(sentence)), code
    with override("en"):
        assert not WORDS["zh-hans"].search(str(sentence)), code


def test_an_error_is_told_by_its_code_and_one_of_an_older_version_by_its_own_words() -> None:
    with override("zh-hans"):
        assert said(NotFound("key_not_found", "No such key.")) == "没有该密钥。"
        assert kept({"code": "worker_lost", "message": "x"}) == {
            "code": "worker_lost", "message": "x", "where": None,
            "said": "运行此项工作的机器已失联。请重新提交；若再次失联，请告知运营方。",
        }  # fmt: skip
        assert (
            said(NotFound("gone_long_ago", "It was so.", fix="Do that.")) == "It was so. Do that."
        )


def test_every_format_of_rows_has_its_words_in_both_languages() -> None:
    """However the formats grow: a refusal names what it found."""
    for words in (kinds.KINDS, kinds.SHORT):
        assert set(words) == set(FORMATS)
        with override("zh-hans"):
            assert all(WORDS["zh-hans"].search(str(each)) for each in words.values())
