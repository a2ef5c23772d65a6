"""A customer's grader in its sandbox: what it may, and what it tries and does not get."""

import re
from pathlib import Path
from typing import Any

import pytest

from finetune.grading import python_grader
from finetune.grading.criteria import NAMED
from finetune.grading.grade import sample_of
from finetune.grading.python_grader import Ran, run_on_all, run_python
from finetune.sandbox.levels import LEVELS, Level, attempt, require


def ran(source: str, answer: str = "Paris", item: Any = None) -> Ran:
    return run_python(
        source, sample_of(answer), item or {"city": "Paris"}, level=require("require")
    )


def forged(answer: str) -> str:
    """Writes the answer itself, past our own code in the child."""
    return (
        f"import os; [os.write(n, {answer!r}.encode()) for n in range(3, 9) "
        f"if os.path.exists(f'/proc/self/fd/{{n}}')]; os._exit(0)"
    )


def test_it_sees_the_answer_and_the_item_and_gives_a_number() -> None:
    source = (
        "import json\n"
        "def grade(sample, item):\n"
        "    print('for nobody')\n"
        "    return 0.5 * (sample['output_text'] == item['city'])\n"
    )
    assert ran(source) == Ran(score=0.5)


def test_answers_in_python_are_held_to_the_tests_of_their_row() -> None:
    def graded(answer: str, **item: Any) -> Ran:
        return ran(source, answer, {"tests": "assert add(1, 2) == 3"} | item)

    source = NAMED["tests"]["source"]
    whole = "Here it is:\n```python\ndef add(a, b):\n    return a + b\n```\nIt adds."
    hole = {"prompt": "def add(a, b):\n    return", "suffix": "\n# end\n"}
    assert graded(whole) == graded("def add(a, b): return a + b") == Ran(score=1.0)
    assert graded(" a + b", **hole) == Ran(score=1.0)
    for wrong in (" a - b", "(", " exit()", " add(b, a)"):
        assert graded(wrong, **hole) == Ran(score=0.0)
    endless = source.replace("SECONDS = 10", "SECONDS = 1")
    assert ran(endless, "while True: pass", {"tests": ""}) == Ran(score=0.0)
    assert "KeyError: 'tests'" in (ran(source, whole).error or "")
    assert "SyntaxError" in (graded(whole, tests="assert (").error or ""), "the row's own fault"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 1 / 0", "ZeroDivisionError: division by zero (line 2)"),
        ("return 'many'", "ValueError: could not convert string to float: 'many'"),
        ("return float('nan')", "no finite number"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import os; os._exit(3)", "ended without an answer (status 3)"),
        ("return bytearray(3 << 30)[0]", "MemoryError"),
        (forged('{"score": Infinity}'), "no finite number"),
        (forged('{"score": 1' + "0" * 400 + "}"), "ended without an answer"),
        (forged("[" * 60000), "ended without an answer"),
    ],
)
def test_what_goes_wrong_in_it_is_told_with_its_line(body: str, said: str) -> None:
    told = ran(f"def grade(sample, item):\n    {body}\n")
    assert told.score == 0
    assert said in (told.error or "")


def test_it_reaches_no_network_no_file_no_secret_and_no_other_process(tmp_path: Path) -> None:
    secret = tmp_path / "master.json"
    secret.write_text("the key")
    source = f"""
import glob, os, socket
def grade(sample, item):
    got = []
    try:
        got.append(open({str(secret)!r}).read())
    except OSError:
        pass
    try:
        socket.create_connection(("1.1.1.1", 53), 2); got.append("network")
    except OSError:
        pass
    got += [name for name in os.environ if "PRIVATUNE" in name or "KEY" in name]
    got += [p for p in glob.glob("/proc/[0-9]*") if b"pytest" in open(p + "/cmdline", "rb").read()]
    try:
        open("/usr/written", "w"); got.append("wrote")
    except OSError:
        pass
    raise RuntimeError("got " + repr(got))
"""
    assert (ran(source).error or "").startswith("RuntimeError: got []")


def test_what_it_is_given_takes_no_more_bytes_and_is_not_on_the_disk() -> None:
    """Also opened anew, by the way that /proc gives."""
    source = """
import os
def tried(*opening):
    try:
        fd = os.open(*opening) if opening else 0
        os.lseek(fd, 0, 2)
        return os.write(fd, b"x" * (1 << 20))
    except OSError:
        return 0
def grade(sample, item):
    again = "/proc/self/fd/0"
    wrote = [tried(), tried(again, os.O_RDWR), tried(again, os.O_APPEND | os.O_WRONLY)]
    return sum(wrote) + (not os.readlink(again).startswith("/memfd:"))
"""
    assert ran(source) == Ran(score=0.0)


def test_one_that_never_ends_is_ended() -> None:
    source = "def grade(sample, item):\n    while True: pass\n"
    told = run_python(source, sample_of(""), {}, level=require("require"), seconds=3)
    assert "ended without an answer" in (told.error or "")
    assert re.search("more than [0-3] seconds", told.error or ""), "with the time to load"


def test_without_isolation_no_strangers_code_runs() -> None:
    told = run_python("def grade(s, i): return 1", {}, {}, level=Level.NONE)
    assert told.ours
    assert "no isolation" in (told.error or "")


def test_what_one_answer_does_is_no_affair_of_the_next() -> None:
    """A model that learns by rewards would find out: what it writes is run by the grader."""
    source = """
seen = []
def grade(sample, item):
    seen.append(1)
    exec(sample["output_text"], {"grade": grade, "space": globals()})
    return len(seen)
"""
    attacks = [
        "import os; os._exit(0)",
        "import os; os.kill(os.getpid(), 9)",
        "space['grade'] = lambda sample, item: 9; space['seen'] += [1] * 9",
        forged('{"score": 9}\n{"score": 9}\n'),
        forged("[" * 60000 + "\n"),
        "import os\nif not os.fork():\n    import time; time.sleep(600)",  # holds the pipe open
        """
import os
for folder in ("self", str(os.getppid())):
    for name in os.listdir(f"/proc/{folder}/fd") if os.access(f"/proc/{folder}/fd", 4) else ():
        try:
            os.write(os.open(f"/proc/{folder}/fd/{name}", os.O_WRONLY), b'{"score": 9}\\n')
        except OSError:
            pass
os._exit(0)
""",
    ]
    answers = [each for attack in attacks for each in (attack, "pass")]
    asked = [(sample_of(answer), {}) for answer in answers]
    told = run_on_all(source, asked, level=require("require"), seconds=60)
    assert [each.score for each in told[1::2]] == [1.0] * len(attacks)
    assert [each.error for each in told[1::2]] == [None] * len(attacks)
    for ended in told[:4:2]:
        assert "ended without an answer" in (ended.error or "")


FORGE_ANY = """
import os
for process in os.listdir("/proc"):
    for end in range(16) if process.isdigit() else ():
        for how in (os.O_WRONLY, os.O_RDWR):
            try:
                os.write(os.open(f"/proc/{process}/fd/{end}", how), b'{"score": 9}\\n' * 9)
            except OSError:
                pass
"""


@pytest.mark.parametrize("level", LEVELS)
def test_no_answer_writes_what_is_read_for_those_after_it(level: Level) -> None:
    """It was held open by the sandbox's first process, too, and could be opened by way of that."""
    if missing := attempt(level):
        pytest.skip(f"this machine has no {level}: {missing}")
    source = "def grade(sample, item):\n    exec(sample['output_text'], {})\n    return 1\n"
    asked = [(sample_of(answer), {}) for answer in (FORGE_ANY, "pass", "pass")]
    told = run_on_all(source, asked, level=level, seconds=60)
    assert told[1:] == [Ran(score=1.0)] * 2


def test_what_ends_more_than_its_process_costs_that_answer_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process that forks each, or all of the sandbox by its bounds; and what stays behind."""
    monkeypatch.setattr(python_grader, "SECONDS", 5)
    source = """
import os
def grade(sample, item):
    exec(sample["output_text"], {})
    return 1 + os.path.exists("/tmp/left") + os.path.exists("/dev/left")
"""
    ends = [
        "import os; os.kill(os.getppid(), 9)",
        "import os; os.kill(-1, 9)",
        "import os, time; os.kill(os.getppid(), 19); time.sleep(60)",
        "while True: pass",
        "import os\nwhile True: os.fork()",
        "import os, time; os.fork(); held = b'x' * (700 << 20); time.sleep(60)",
    ]
    leaves = [
        "open('/tmp/left', 'w').close(); open('/dev/left', 'w').close()",
        """
import os, time
told, tells = os.pipe()
if not os.fork():
    os.setsid()
    os.write(tells, b"!")
    while True:
        time.sleep(0.01)
        os.kill(os.getppid(), 9)
os.read(told, 1)
""",
    ]
    answers = [each for attack in (*ends, *leaves) for each in (attack, "pass")]
    asked = [(sample_of(answer), {}) for answer in answers]
    told = run_on_all(source, asked, level=require("require"), seconds=400)
    assert told[1::2] == [Ran(score=1.0)] * len(answers[1::2])
    for ended in told[: 2 * len(ends) : 2]:
        assert "ended without an answer" in (ended.error or "")


def test_a_source_that_ends_its_process_in_loading_is_not_loaded_again_for_each() -> None:
    begun: list[Any] = []
    asked = [(sample_of(""), {})] * 50
    source = "import os\nos._exit(3)\ndef grade(sample, item): return 1\n"
    told = run_on_all(source, asked, level=require("require"), seconds=60, started=begun.append)
    assert len(begun) == 1
    assert all("ended without an answer (status 3)" in (each.error or "") for each in told)
