# make demo    the main job on a phantom: study, table, figure
# make test    ruff, mypy and the tests, in WORKERS=3 processes; SLOW=1 adds the tests that take minutes
# make docs    the documentation's pages, in docs/build; a warning or a dead link is a failure
# make lint    ruff and mypy alone
# make format  rewrite the code as ruff wants it
# make audit   look the pinned versions up in the database of known vulnerabilities; needs a network that reaches it
# make lock    choose the versions in constraints.txt anew
# make clean   remove everything that these targets made
#
# Each sets up what it needs; what is there already is not installed again, and no network is used.

PYTHON ?= python3
STUDY ?= fpa_dilation
# More than two cores: many tests wait for processes that they have started.
WORKERS ?= 3
# The demo keeps to a home of its own, whatever PAM_HOME says, so that it never meets real results.
DEMO_HOME ?= $(CURDIR)/.pam

VENV := .venv
BIN := $(VENV)/bin
# pip compiles all that it installs: where PYTHONDONTWRITEBYTECODE is set, as in many images, no later import would.
PIP_INSTALL = $(1)/bin/python -m pip install --quiet --disable-pip-version-check
# Files that say what is installed; older than these two, they are out of date.
RUN := $(VENV)/installed-run
TEST := $(VENV)/installed-test
DOCS := $(VENV)/installed-docs
REQUIREMENTS := pyproject.toml constraints.txt

.PHONY: demo test docs lint format audit lock clean

demo: $(RUN)
	PAM_HOME="$(DEMO_HOME)" $(BIN)/python -m pam.sweep $(STUDY) --demo
	PAM_HOME="$(DEMO_HOME)" $(BIN)/python -m pam.report $(STUDY)
	@echo 'To go on with these cells: . $(BIN)/activate; export PAM_HOME="$(DEMO_HOME)"'

# After the linters, so that pytest's summary is what is printed last. A file's tests share fixtures: they stay together,
# in the order of tests/conftest.py.
test: lint
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder $(if $(SLOW),-m "slow or not slow")

# -W: links between pages that lead nowhere are warnings, and those to other files a test looks up.
docs: $(DOCS)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/build
	@echo "docs/build/index.html"

lint: $(TEST)
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy

format: $(TEST)
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

$(BIN)/python:
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); \
	ok or sys.exit("pam needs Python 3.11 to 3.13, found " + sys.version.split()[0] + "; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# torch comes first and by its pin: a later package must never choose another build of it.
$(RUN): $(REQUIREMENTS) | $(BIN)/python
	@echo "Installing the pinned dependencies into $(VENV) (the first time about 2 GB, a few minutes)."
	$(call PIP_INSTALL,$(VENV)) --constraint constraints.txt torch
	$(call PIP_INSTALL,$(VENV)) --constraint constraints.txt --editable .
	@touch $@

$(TEST): $(RUN)
	@echo "Installing the test tools into $(VENV)."
	$(call PIP_INSTALL,$(VENV)) --constraint constraints.txt --editable '.[test]'
	@touch $@

$(DOCS): $(RUN)
	@echo "Installing what builds the documentation into $(VENV)."
	$(call PIP_INSTALL,$(VENV)) --constraint constraints.txt --editable '.[docs]'
	@touch $@

# --strict: a version that cannot be looked up is a failure, not a pass.
audit:
	$(PYTHON) -m venv --clear .audit
	$(call PIP_INSTALL,.audit) pip-audit
	.audit/bin/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt
	rm -rf .audit

# torch stays at its pin; raise that one by hand. Local parts of versions (+cpu) and CUDA's own packages belong to one machine.
lock:
	$(PYTHON) -m venv --clear .lock
	$(call PIP_INSTALL,.lock) "$$(grep '^torch==' constraints.txt)"
	$(call PIP_INSTALL,.lock) '.[docs,onnx,postgres,test]'
	{ grep '^#' constraints.txt; \
	  .lock/bin/python -m pip freeze --all --exclude pip --exclude pam-ablation \
	  | sed -e 's/+[a-z0-9.]*$$//' -e '/^nvidia-/d' -e '/^cuda-/d' -e '/^triton==/d'; } > .lock/constraints.txt
	cp .lock/constraints.txt constraints.txt
	rm -rf .lock

clean:
	rm -rf $(VENV) .audit .lock .pam dist docs/build .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find pam tune_spaces tests -name __pycache__ -prune -exec rm -rf {} +
