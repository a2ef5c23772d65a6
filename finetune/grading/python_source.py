"""Whether a text compiles as Python, asked of a process of its own and never run.

A few hundred bytes can ask the compiler for gigabytes (each `finally` within a `finally` doubles
the code), and it holds the interpreter's lock meanwhile: nobody else would be answered.
"""

import hashlib
import json
import subprocess
import sys

SECONDS = 3  # of a processor; 256 kB of ordinary source take a fifth of one
MEMORY = 512 << 20  # bytes
_MOST_KNOWN = 4096
_WALL_SECONDS = 30  # on a machine that has no processor to spare

_CHILD = f"""
import json, resource, sys
for what, most in ((resource.RLIMIT_CPU, {SECONDS}), (resource.RLIMIT_DATA, {MEMORY})):
    resource.setrlimit(what, (most, most))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
source = sys.stdin.buffer.read().decode()
try:
    compile(source, "grader.py", "exec", dont_inherit=True)
    said = None
except SyntaxError as error:
    said = f"line {{error.lineno}}: {{error.msg}}"
except MemoryError:
    said = "it takes too much to compile"
except (ValueError, RecursionError) as error:
    said = str(error)
sys.stdout.write(json.dumps(said))
"""
_TOO_MUCH = "source is no Python: it takes too much to compile"


# SHA-256 of sources that compiled: a job's grader is looked at each time that the job is
_known: set[bytes] = set()


def require_python(source: str) -> None:
    """Raises ValueError with the line; also for what compiles only beyond the bounds. One that
    compiled in this process is not compiled again."""
    digest = hashlib.sha256(source.encode()).digest()
    if digest in _known:
        return
    _compile(source)
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    _known.add(digest)


def _compile(source: str) -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-W", "ignore", "-c", _CHILD],
            input=source.encode(),
            env={},
            capture_output=True,
            timeout=_WALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(_TOO_MUCH) from None
    if done.returncode:
        raise ValueError(_TOO_MUCH)
    if said := json.loads(done.stdout):
        raise ValueError(f"source is no Python: {said}")
