# Two commands are all a newcomer needs:
#   make run     install into .venv and start the gateway with its embedded defaults
#   make test    install what the tests need, then lint, check types and run them all
# They ask for nothing but Python 3.11 or newer and, for what is missing, apt.

SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: help run test lint format types imports tests bench fuzz torture ui lock reference install dev packages frameworks clean

help:  ## list the commands
	@sed -n 's/^\([a-z]*\):.*  ## /  make \1\t/p' Makefile | expand -t 20

run: $(VENV)/run.stamp  ## start the gateway; more options by ARGS="--port 9000"
	@exec $(BIN)/tidegate serve $(ARGS)

test: $(VENV)/dev.stamp packages frameworks lint tests  ## lint, types, import directions and all tests

tests: $(VENV)/dev.stamp  ## all tests, without linting; some of them by ARGS="tests/limits"
	@$(BIN)/python $(if $(ARGS),-m pytest $(ARGS),scripts/all_tests.py)

lint: $(VENV)/dev.stamp  ## what `make test` checks before it runs tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp  ## format, and repair what can be repaired
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/dev.stamp packages  ## compare with nginx; shorter by ARGS=--quick
	@$(BIN)/python -m bench.run $(ARGS)

fuzz: $(VENV)/dev.stamp  ## broken requests at the edge; broken JSON and streams by ARGS=dialects
	@$(BIN)/python -m bench.fuzz $(ARGS)

torture: $(VENV)/dev.stamp packages  ## kills, reloads, upgrades and drains of real processes
	@PYTHONPATH=. $(BIN)/python tests/process/torture.py $(ARGS)

reference: $(VENV)/dev.stamp  ## write docs/reference, alert rules and dashboards from the code again
	@$(BIN)/python scripts/reference.py
	@$(BIN)/python scripts/alert_rules.py
	@$(BIN)/python -m scripts.dashboards

ui:  ## build the live view's pages; needs Node 20.19 or newer
	@sh scripts/build_ui.sh

lock: $(VENV)/dev.stamp  ## resolve both lock files again, newest versions
	@$(BIN)/python scripts/lock.py

install: $(VENV)/run.stamp

dev: $(VENV)/dev.stamp

packages:
	@sh scripts/apt_install.sh scripts/apt_packages.txt

frameworks: $(VENV)/frameworks.stamp

$(VENV)/run.stamp: pyproject.toml requirements.lock scripts/install.sh
	@PYTHON="$(PYTHON)" sh scripts/install.sh $(VENV) requirements.lock
	@touch $@

$(VENV)/dev.stamp: pyproject.toml requirements.lock requirements-dev.lock scripts/install.sh
	@PYTHON="$(PYTHON)" sh scripts/install.sh $(VENV) requirements-dev.lock
	@touch $@ $(VENV)/run.stamp

$(VENV)/frameworks.stamp: $(VENV)/dev.stamp scripts/install_frameworks.sh tests/cross/frameworks/requirements.lock tests/cross/frameworks/package-lock.json
	@sh scripts/install_frameworks.sh $(VENV)-frameworks $(BIN)/python
	@touch $@

clean:  ## remove the environment and all caches; ./data stays
	rm -rf $(VENV) $(VENV)-frameworks tests/cross/frameworks/node_modules build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
