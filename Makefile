# octavo. Everything is installed into .venv by tools/setup, which returns at once while .venv is up to date.

ARGS ?=
CSRC := $(wildcard src/octavo/backends/cpu/csrc/*.cpp src/octavo/backends/cpu/csrc/*.h)

.PHONY: help serve test test-full soak soak-router lint format build size clean

help:
	@echo 'make serve [ARGS="--port 8123"]  set up, fetch the built-in model, and serve it'
	@echo 'make test                        lint, then every test but the long ones'
	@echo 'make test-full                   lint, then every test'
	@echo 'make soak [ARGS="--requests N"]  random requests to a server whose engine is killed again and again'
	@echo 'make soak-router [ARGS=...]      requests to a router whose replicas are killed, removed and added'
	@echo 'make lint                        ruff, mypy and clang-format'
	@echo 'make format                      rewrite Python and C++ as lint wants it'
	@echo 'make build                       a wheel in dist/'
	@echo 'make size                        lines per folder'
	@echo 'make clean                       remove what the others made'

serve:
	@tools/setup serve
	@exec .venv/bin/octavo serve $(ARGS)

test: lint
	@.venv/bin/python -m pytest $(ARGS)

test-full: lint
	@.venv/bin/python -m pytest --full $(ARGS)

soak:
	@tools/setup test
	@.venv/bin/python -m tests.soak $(ARGS)

soak-router:
	@tools/setup test
	@.venv/bin/python -m tests.soak.router $(ARGS)

lint:
	@tools/setup test
	@.venv/bin/ruff check --quiet .
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/mypy --no-error-summary
	@.venv/bin/clang-format --dry-run -Werror $(CSRC)

format:
	@tools/setup test
	@.venv/bin/ruff check --quiet --fix .
	@.venv/bin/ruff format --quiet .
	@.venv/bin/clang-format -i $(CSRC)

build:
	@tools/setup serve
	@PIP_CONSTRAINT=constraints.txt .venv/bin/pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

size:
	@python3 tools/size.py

clean:
	@rm -rf .venv .venv-tools build dist .mypy_cache .ruff_cache .hypothesis
	@find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
