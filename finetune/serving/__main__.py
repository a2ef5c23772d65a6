"""`python -m finetune.serving --socket PATH`: answer until told to stop, or until the parent ends.

Exit codes: 0 stopped, 64 the arguments are at fault.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from faults import UserFault
from finetune.discretion import DiscreetFormatter
from finetune.serving import sockets
from finetune.states import ExitCode

_PARENT = os.getppid()  # before the heavy imports, during which the parent could end
_CHECK_PARENT = 0.5  # seconds


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m finetune.serving", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="unix socket to listen on")
    parser.add_argument("--max-bases", type=int, default=2, help="bases kept in memory")
    parser.add_argument("--adapter-mb", type=int, default=1024, help="memory for adapters")
    parser.add_argument("--kv-mb", type=int, default=1024, help="memory for a base's answers")
    parser.add_argument("--max-rows", type=int, default=32, help="answers written at once")
    parser.add_argument("--max-waiting", type=int, default=1024, help="answers that may wait")
    parser.add_argument("--tenant-waiting", type=int, default=256, help="of one tenant")
    parser.add_argument("--threads", type=int, help="processor threads for the model")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    return parser.parse_args()


async def _serve(arguments: argparse.Namespace) -> None:
    sockets.free(arguments.socket)  # before the slow imports

    import torch

    from finetune.serving.lane import Limits
    from finetune.serving.scheduler import Scheduler
    from finetune.serving.server import Server
    from finetune.serving.store import ModelStore

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    limits = Limits(rows=arguments.max_rows, kv_bytes=arguments.kv_mb << 20)
    store = ModelStore(
        max_bases=arguments.max_bases,
        adapter_bytes=arguments.adapter_mb << 20,
        precision=arguments.precision,
    )
    scheduler = Scheduler(
        limits,
        max_waiting=arguments.max_waiting,
        tenant_waiting=arguments.tenant_waiting,
        threads=arguments.threads,
    )
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    # The sandbox starts us with it blocked, so that one that came too early is not lost
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    async with Server(store, scheduler).listening(arguments.socket):
        logging.info("listening on %s", arguments.socket)
        while not stop.is_set() and os.getppid() == _PARENT:
            try:
                await asyncio.wait_for(stop.wait(), _CHECK_PARENT)
            except TimeoutError:
                continue


def main() -> int:
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    handler = logging.StreamHandler()
    handler.setFormatter(DiscreetFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        asyncio.run(_serve(_arguments()))
    except UserFault as error:
        print(f"serving: {error}", file=sys.stderr)
        return ExitCode.DATA
    return ExitCode.DONE


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a base may be half read in a thread that nobody can interrupt
