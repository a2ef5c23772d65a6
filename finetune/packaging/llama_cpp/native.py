"""llama.cpp's C interface (`llama.h`, `ggml.h`), out of the library that xllamacpp brings.

Its parameters are taken as llama.cpp gives them and handed back unread, so that their layout, which
changes from version to version, is nothing to this module.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faults import OurFault

Floats = NDArray[np.float32]
CONTEXT = 512  # tokens; what llama.cpp's own default parameters give
_PIECE = 8


class _Parameters(ctypes.Structure):
    """More room than either kind needs."""

    _fields_ = (("bytes", ctypes.c_uint8 * 2048),)


class _Batch(ctypes.Structure):
    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.c_void_p),
        ("n_seq_id", ctypes.c_void_p),
        ("seq_id", ctypes.c_void_p),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    )


_POINTER, _INT, _SIZE = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "llama_backend_init": (None, []),
    "llama_log_set": (None, [_LOG, _POINTER]),
    "llama_model_default_params": (_Parameters, []),
    "llama_model_load_from_file": (_POINTER, [ctypes.c_char_p, _Parameters]),
    "llama_model_free": (None, [_POINTER]),
    "llama_model_get_vocab": (_POINTER, [_POINTER]),
    "llama_context_default_params": (_Parameters, []),
    "llama_init_from_model": (_POINTER, [_POINTER, _Parameters]),
    "llama_free": (None, [_POINTER]),
    "llama_set_n_threads": (None, [_POINTER, _INT, _INT]),
    "llama_get_memory": (_POINTER, [_POINTER]),
    "llama_memory_clear": (None, [_POINTER, ctypes.c_bool]),
    "llama_batch_get_one": (_Batch, [ctypes.POINTER(_INT), _INT]),
    "llama_decode": (_INT, [_POINTER, _Batch]),
    "llama_get_logits_ith": (ctypes.POINTER(ctypes.c_float), [_POINTER, _INT]),
    "llama_vocab_n_tokens": (_INT, [_POINTER]),
    "llama_vocab_is_eog": (ctypes.c_bool, [_POINTER, _INT]),
    "llama_tokenize": (
        _INT,
        [_POINTER, ctypes.c_char_p, _INT, ctypes.POINTER(_INT), _INT, ctypes.c_bool, ctypes.c_bool],
    ),
    "ggml_quantize_chunk": (
        ctypes.c_size_t,
        [ctypes.c_int, _POINTER, _POINTER, _SIZE, _SIZE, _SIZE, _POINTER],
    ),
}


def version_of() -> str:
    return f"xllamacpp {version('xllamacpp')}"


@cache
def _library() -> Any:
    try:
        import xllamacpp.xllamacpp as extension
    except ImportError as error:
        raise OurFault(
            "llama_cpp_missing",
            f"llama.cpp, which a GGUF file is tried with, cannot be loaded: {error}",
            fix="Install the extra `gguf` where the trainers run.",
        ) from error
    library = ctypes.CDLL(extension.__file__)
    for name, (gives, takes) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = gives, takes
    library.llama_log_set(_quiet, None)
    library.llama_backend_init()
    return library


def _say(level: int, text: bytes, _: Any) -> None:
    if level == _ERROR:
        print(text.decode(errors="replace"), end="")


_quiet = _LOG(_say)  # kept here, where nothing takes it away under the library


_ERROR = 4  # ggml_log_level


def require_native() -> None:
    """Raises OurFault `llama_cpp_missing`."""
    _library()


def quantised(rows: Floats, kind: int, row_bytes: int) -> NDArray[np.uint8]:
    """`rows` [n, columns] in blocks of ggml's type number `kind`."""
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    packed = np.empty((len(rows), row_bytes), np.uint8)
    written = _library().ggml_quantize_chunk(
        kind, rows.ctypes.data, packed.ctypes.data, 0, len(rows), rows.shape[1], None
    )
    if written != packed.nbytes:
        raise OurFault("packaging_failed", f"ggml wrote {written} bytes of {packed.nbytes}.")
    return packed


@contextmanager
def opened(path: Path, *, threads: int) -> Iterator["Model"]:
    """Raises OurFault `parity_failed` where llama.cpp does not load it."""
    library = _library()
    model = library.llama_model_load_from_file(
        str(path).encode(), library.llama_model_default_params()
    )
    context = None
    try:
        if model:
            context = library.llama_init_from_model(model, library.llama_context_default_params())
        if not context:
            raise OurFault("parity_failed", "llama.cpp does not load the file.")
        library.llama_set_n_threads(context, threads, threads)
        yield Model(library, model, context)
    finally:
        if context:
            library.llama_free(context)
        if model:
            library.llama_model_free(model)


class Model:
    """A file that llama.cpp holds in memory, asked one row at a time."""

    def __init__(self, library: Any, model: int, context: int) -> None:
        self._library, self._context = library, context
        self._vocab = library.llama_model_get_vocab(model)
        self.size: int = library.llama_vocab_n_tokens(self._vocab)

    def tokens(self, text: str) -> list[int]:
        """Without a start token; control tokens are read as such."""
        encoded = text.encode()
        room = len(encoded) + _PIECE
        found = (ctypes.c_int32 * room)()
        count = self._library.llama_tokenize(
            self._vocab, encoded, len(encoded), found, room, False, True
        )
        return list(found[: max(count, 0)])

    def ends(self, token: int) -> bool:
        return bool(self._library.llama_vocab_is_eog(self._vocab, token))

    def logits(self, row: list[int]) -> Floats:
        """[tokens, vocabulary] of a row from its beginning."""
        self._forget()
        return self._decode(row)

    def answer(self, row: list[int], most: int) -> list[int]:
        """What it goes on with, the likeliest token every time, up to one that ends."""
        self._forget()
        found: list[int] = []
        last = self._decode(row)[-1]
        while len(found) < most:
            found.append(int(last.argmax()))
            if self.ends(found[-1]):
                break
            last = self._decode(found[-1:])[-1]
        return found

    def _forget(self) -> None:
        self._library.llama_memory_clear(self._library.llama_get_memory(self._context), True)

    def _decode(self, row: list[int]) -> Floats:
        tokens = (ctypes.c_int32 * len(row))(*row)
        every = (ctypes.c_int8 * len(row))(*[1] * len(row))
        batch = self._library.llama_batch_get_one(tokens, len(row))
        batch.logits = every
        if code := self._library.llama_decode(self._context, batch):
            raise OurFault("parity_failed", f"llama.cpp does not compute it (code {code}).")
        return np.stack(
            [
                np.ctypeslib.as_array(self._at(place), shape=(self.size,)).copy()
                for place in range(len(row))
            ]
        )

    def _at(self, place: int) -> Any:
        return self._library.llama_get_logits_ith(self._context, place)
