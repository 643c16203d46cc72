# Two commands do everything on a fresh machine with Python 3.11+, git and make: `make demo`, `make test`.
PYTHON ?= python3
VENV   := .venv
READY  := $(VENV)/.ready

.PHONY: demo test check setup clean

setup: $(READY)

# Made again when what is to be installed changes; the stamp comes last, so a broken install is not "ready".
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "harness needs Python 3.11 or newer; set PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade 'pip>=24'
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt -e '.[models,demo,dev]'
	touch $(READY)

demo: $(READY)
	$(VENV)/bin/harness run experiments/medical.toml

test: $(READY) check
	$(VENV)/bin/python -m pytest

check: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) .harness build dist *.egg-info
