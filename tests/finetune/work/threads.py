"""`python -m tests.finetune.work.threads`: how many threads torch computes with here, in a thread
beside, and as the environment has it; and the process that forked our keeper."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import psutil
import torch

if __name__ == "__main__":
    with ThreadPoolExecutor(1) as beside:
        there = beside.submit(torch.get_num_threads).result()
    asked = int(os.environ["OMP_NUM_THREADS"])
    zygote = psutil.Process(os.getppid()).ppid()
    print(json.dumps([torch.get_num_threads(), there, asked, zygote]))
