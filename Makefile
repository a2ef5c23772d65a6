.PHONY: help setup setup-run demo demo-retrieval up test clients stutter check fast clean

PY := .venv/bin/python
# One thread a process in tests: the thread count changes the bits of a result.
TEST_ENV := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1

# Processes with a database each; a file's tests stay together and share fixtures. How many and in
# which order: tests/fixtures/side_by_side.py. xdist's own order takes files of few tests last, which
# are the long ones.
SIDE_BY_SIDE := -n auto --dist loadfile --no-loadscope-reorder

help:
	@echo "make demo    set up, then run the main job end to end (ends by itself)"
	@echo "make demo-retrieval  the same for a search by vectors, with a smaller base"
	@echo "make up      set up, then keep the whole stack running at http://127.0.0.1:8000"
	@echo "make test    set up, then run every test"
	@echo "make clients set up LiteLLM, LangChain, the AI SDK and others too (275 MB), then run the tests of them"
	@echo "make check   lint, types, import contracts, migrations, deployment, translations"
	@echo "make stutter the same, while the tests' processes are stopped at random: a busy machine"
	@echo "make fast    the tests without the slow ones"

setup-run:
	@scripts/setup run

setup:
	@scripts/setup test

demo: setup-run
	@$(PY) -m privatune.demo

demo-retrieval:
	@scripts/setup retrieval
	@$(PY) -m privatune.demo.retrieval

up: setup-run
	@$(PY) -m privatune.cli up --data var/data --port 8000

test: setup
	$(TEST_ENV) $(PY) -m pytest $(SIDE_BY_SIDE)

clients:
	@scripts/setup clients
	$(TEST_ENV) $(PY) -m pytest tests/finetune/api/test_gateways_and_clients.py tests/finetune/api/test_node_clients.py

stutter: setup
	$(TEST_ENV) $(PY) scripts/stutter.py -- $(PY) -m pytest $(SIDE_BY_SIDE)

fast: setup
	$(TEST_ENV) $(PY) -m pytest $(SIDE_BY_SIDE) -m "not slow and not browser"

check: setup
	@scripts/check

clean:
	rm -rf .venv node_modules var staticfiles
