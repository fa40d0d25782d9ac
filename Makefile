# Two commands matter: `make backtest` (from nothing to a tearsheet) and `make test`. `make help` lists the rest.
#
#   make backtest PYTHON=python3.12     the interpreter for .venv (otherwise the newest of 3.11 to 3.13 on PATH)
#   make test ARGS="-k book -x"         arguments for pytest; likewise for fetch and live

VENV    = .venv
PYTHON ?=
ARGS    =

PY  := $(VENV)/bin/python
QT  := $(VENV)/bin/qt
PIP := $(PY) -m pip install -qq --disable-pip-version-check
# An environment belongs to the folder it was made in: a moved or copied checkout installs anew.
HERE := $(shell printf %s "$(CURDIR)" | cksum | cut -d' ' -f1)
BASE := $(VENV)/.qtnb-$(HERE)
DEV  := $(VENV)/.qtnb-dev-$(HERE)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help backtest live fetch lab test parity lint docs bench clean distclean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# -- for users ------------------------------------------------------------------------------------------------------------

backtest: $(BASE) ## load the bundled market data, run the back-test and tearsheet notebooks, print the result
	@$(QT) fetch sample
	@$(QT) job run backtest
	@$(QT) job run tearsheet

live: $(BASE) ## run the paper session notebook over replayed bars (offline, seconds)
	@$(QT) fetch sample
	@$(QT) job run live $(ARGS)

fetch: $(BASE) ## load the bundled market data into the lake (ARGS="..." for another source)
	@$(QT) fetch $(or $(ARGS),sample)

lab: $(DEV) ## open JupyterLab on the notebooks
	@$(PY) -m jupyterlab --ServerApp.root_dir=nbs $(ARGS)

# -- for developers -------------------------------------------------------------------------------------------------------

test: $(DEV) ## run every test: each notebook, and everything under tests/
	@./.ci/browser
	@./.ci/services
	@$(PY) -m pytest -n auto --maxprocesses 4 $(ARGS)

parity: $(DEV) ## compare the compiled path with the event path on 5,000 random back-tests (some minutes)
	@QTNB_EFFORT=deep $(PY) -m pytest tests/properties/test_compiled_parity.py $(ARGS)

lint: $(DEV) ## ruff on the exported code and the tests, pyright on the exported code
	@$(PY) -m ruff check qtnb tests
	@$(PY) -m pyright --pythonpath $(PY)

docs: $(DEV) ## build the documentation site into _docs/
	@$(PY) nbs/site/build.py $(ARGS)

bench: $(DEV) ## measure the engine against a bare loop, the data layer against plain pyarrow and ArcticDB, rolling features against pandas and polars, portfolios against other optimisers, figures of returns against plain numpy; with QTNB_PEERS other engines too
	@$(PY) tests/bench/run.py $(ARGS)
	@$(PY) tests/bench/data.py $(ARGS)
	@$(PY) tests/bench/labels.py $(ARGS)
	@$(PY) tests/bench/features.py
	@$(PY) tests/bench/portfolio.py
	@$(PY) tests/bench/evaluation.py
	@$(PY) tests/bench/tearsheets.py
	@$(PY) tests/bench/peers.py

clean: ## remove .venv, caches and everything built (never data/, artifacts/ or logs/)
	@if [ -f $(VENV)/pyvenv.cfg ]; then rm -rf $(VENV); fi
	@rm -rf _docs jupyter_execute artifacts/docs build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .jupyter_cache
	@find _proc -mindepth 1 ! -name .gitkeep -delete 2>/dev/null || true
	@find nbs qtnb tests -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

distclean: clean ## clean, and also the lake, the results and the logs: data/ artifacts/ logs/
	@rm -rf data artifacts logs

# -- the environment ------------------------------------------------------------------------------------------------------

$(PY):
	@./.ci/venv $(VENV) $(PYTHON)

$(BASE): $(PY) pyproject.toml
	@echo "== Installing qtnb into $(VENV) (a minute or two the first time)"
	@$(PIP) --editable .
	@touch $@

$(DEV): $(BASE)
	@echo "== Installing the tools for tests, documentation and JupyterLab into $(VENV) (a minute or two the first time)"
	@$(PIP) --editable '.[dev,docs,lab,postgres,dist,optuna,ml,garch,server]'
	@touch $@
