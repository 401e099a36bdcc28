PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# A stamp younger than pyproject.toml means that the environment is up to date.
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install -e '.[dev]'
	# Only its CLIP vocabulary is wanted (tests); its own dependencies would bring torchvision.
	$(BIN)/python -m pip install --no-deps 'open_clip_torch>=2.30,<4'
	touch $@

.PHONY: test lint
test: $(VENV)/.ready
	$(BIN)/python -m pytest
