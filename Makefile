PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# make demo                                             train a small model in front of you, then search with it
# make demo MODEL=openai/clip-vit-base-patch32 VIDEOS=~/clips     search your own videos with a model of your choice
# SERVE=0 stops before serving; PORT moves the page; DEMO is the folder that keeps everything.
DEMO ?= demo
PORT ?= 7860
SERVE ?= 1
MODEL ?=
VIDEOS ?=
QUERY ?=

# A name may hold any sign: it is taken as it was written ($$ stands for $ as well), and quoted for the shell.
literal = $(subst $$$$,$$,$(value $(1)))
quote = '$(subst ','\'',$(1))'
THE_MODEL := $(or $(call literal,MODEL),$(DEMO)/model)
DRAWN := $(DEMO)/corpus/spec.json $(DEMO)/films/moments.jsonl
THE_VIDEOS = $(if $(value VIDEOS),$(call quote,$(call literal,VIDEOS)),$(DEMO)/corpus/test $(DEMO)/films)
QUERIES := $(or $(call literal,QUERY),$(if $(value VIDEOS),a person,a red star moves to the left))
OWN := $(value MODEL)$(value VIDEOS)
# Each pair of model and videos has an index of its own, so that none is refused as another model's.
PAIR := $(if $(OWN),-$(shell printf '%s' $(call quote,$(call literal,MODEL) $(call literal,VIDEOS)) | cksum | cut -d' ' -f1))
INDEX := $(DEMO)/index$(PAIR)
$(if $(word 2,$(DEMO)),$(error DEMO must be a folder without spaces in its name))

.PHONY: demo test lint format docs clean
.DELETE_ON_ERROR:

demo: $(READY) $(if $(value MODEL),,$(DEMO)/evaluation.json) $(if $(value VIDEOS),,$(DRAWN))
	$(BIN)/dmae index $(THE_VIDEOS) --model $(call quote,$(THE_MODEL)) --index $(INDEX)
	$(BIN)/dmae search $(call quote,$(QUERIES)) --model $(call quote,$(THE_MODEL)) --index $(INDEX) -k 5
ifneq ($(SERVE),0)
	$(BIN)/dmae serve --model $(call quote,$(THE_MODEL)) --index $(INDEX) --port $(PORT)
endif

$(DEMO)/corpus/spec.json: | $(READY)
	$(BIN)/dmae synthetic $(DEMO)/corpus

# Written last: an interrupted call is gone on with.
$(DEMO)/films/moments.jsonl: | $(READY)
	$(BIN)/dmae synthetic $(DEMO)/films --films 1

$(DEMO)/start/config.json: $(DEMO)/corpus/spec.json training/synthetic/stills.py training/synthetic/init.py
	$(BIN)/dmae init $(DEMO)/start --captions $(DEMO)/corpus --stills 1300 --short-share 0.3

# dmae train continues an interrupted run; a finished one of another recipe is made anew.
$(DEMO)/model/.trained: $(DEMO)/start/config.json training/configs/demo.yaml
	@if [ -f $@ ]; then rm -rf $(DEMO)/model $(DEMO)/index; fi
	$(BIN)/accelerate launch --num_processes 1 --cpu -m dmae.cli train training/configs/demo.yaml \
		model=$(DEMO)/start dataset=$(DEMO)/corpus output_dir=$(DEMO)/model
	touch $@

$(DEMO)/evaluation.json: $(DEMO)/model/.trained
	$(BIN)/dmae evaluate $(DEMO)/model $(DEMO)/corpus --json $@

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The API reference from the docstrings: build/docs/index.html.
docs: $(READY)
	$(BIN)/pdoc --docformat google --output-directory build/docs dmae dmae.errors dmae.modeling dmae.retrieval \
		dmae.training.config dmae.training.corpora dmae.training.evaluation.evaluation dmae.training.loop

clean:
	rm -rf $(DEMO) runs build dist *.egg-info

# A stamp younger than pyproject.toml: the environment is up to date.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	# Its wheel carries CLIP's vocabulary (tests); its dependencies would bring torchvision.
	$(BIN)/python -m pip install --quiet --no-deps 'open_clip_torch>=2.30,<4'
	touch $@
