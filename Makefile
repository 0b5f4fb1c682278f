# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
#
# `make help` lists the targets. Everything is installed into $(VENV); delete it to start over.
# PYTHON=python3.12          the Python of the environment (3.10 to 3.12)
# TORCH=torch==2.13.0        the torch that the workshop gets
# TORCH_INDEX=URL            extra package index for it, such as PyTorch's CPU index: smaller wheels
# JOBS=2                     compilers at a time
# PYTEST_ARGS="-k manifest"  passed on to pytest
# HOURS=1                    how long `make soak` lasts; ten minutes without it

SHELL := /bin/sh
VENV ?= .venv
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PYTEST_ARGS ?=
HOURS ?=
SOAK_ARGS ?=
# compiled mmcv wheels outlive the environment and the checkout: the build takes ten minutes
WHEELS ?= $(HOME)/.cache/robollm/wheels

MMCV := onedl-mmcv==2.3.6
MMDET := onedl-mmdetection==3.5.1
IMAUG := imaug==0.4.3
MODELOPT := nvidia-modelopt==0.47.0

SUITABLE := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.12 python3.11 python3.10; do \
	$$p -c '$(SUITABLE)' 2>/dev/null && echo $$p && break; done)
endif

BIN := $(abspath $(VENV))/bin
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip --disable-pip-version-check --quiet install -c constraints.txt
# set when a ROS 2 installation is sourced: the environment then sees its packages, and the ROS
# wheels and our vision_msgs stay out of it
ROS := $(shell PYTHONPATH=.:$$PYTHONPATH $(PYTHON) -c \
	'from robollm_core.cli.prerequisites import sourced_ros; print(sourced_ros())' 2>/dev/null)
STAMPS := $(VENV)/.stamps
comma := ,
DEPLOY := $(STAMPS)/deploy$(if $(ROS),-sourced)
WORKSHOP := $(STAMPS)/workshop
# what the vision_msgs of a machine without ROS is built from
INTERFACES := $(shell find robollm_ros/interfaces/vision_msgs \( -name '*.msg' -o -name '*.py' \
	-o -name package.xml \) -not -path '*/build/*')

.DEFAULT_GOAL := help
.PHONY: help setup demo soak test check lint format types docs clean sim prerequisites-demo prerequisites-sim prerequisites-test

help: ## this list
	@grep -hE '^[a-z]+:.*## ' Makefile | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: prerequisites-demo $(DEPLOY) ## install what the robot cell needs, nothing more

demo: setup ## run the cell on the sample bag over ROS 2; results in out/demo/
	$(BIN)/robollm demo

sim: prerequisites-sim $(STAMPS)/sim ## a simulated cell that runs until Ctrl-C; SIM_ARGS="--faults random"
	$(BIN)/robollm sim $(SIM_ARGS)

soak: prerequisites-test $(WORKSHOP) ## a simulated cell with faults: frames, picks, memory in out/soak/
	$(BIN)/robollm soak $(if $(HOURS),--hours $(HOURS)) $(SOAK_ARGS)

test: prerequisites-test $(WORKSHOP) ## install the workshop; style, types and all tests
	$(MAKE) --no-print-directory lint types
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: prerequisites-test $(WORKSHOP) ## style, types and the fast tests
	$(MAKE) --no-print-directory lint types
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

lint: $(WORKSHOP) ## style, docstrings, layout
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

format: $(WORKSHOP) ## lay the code out
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

types: $(WORKSHOP) ## mypy, strict
	$(BIN)/python -m mypy

docs: $(WORKSHOP) ## write the tables of docs/ that come from the code
	$(BIN)/python docs/generate.py

clean: ## remove the environment and what commands wrote, not the compiled wheels
	rm -rf $(VENV) out build *.egg-info .mypy_cache .ruff_cache .pytest_cache \
		robollm_ros/interfaces/vision_msgs/build robollm_ros/interfaces/vision_msgs/*.egg-info

prerequisites-demo prerequisites-sim prerequisites-test: prerequisites-%:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.10, 3.11 or 3.12 on PATH." \
		"Install one (sudo apt install python3 python3-venv) or name it: make PYTHON=..."; exit 1; } >&2
	@$(PYTHON) -c '$(SUITABLE)' || { echo "make: $(PYTHON) is not Python 3.10, 3.11 or 3.12." \
		"Name another: make PYTHON=/path/to/python3.12"; exit 1; } >&2
	@test -e $(STAMPS)/$(or $(filter sim,$*),$(if $(filter test,$*),workshop,deploy)$(if $(ROS),$(if $(filter test,$*),,-sourced))) || \
		PYTHONPATH=.:$$PYTHONPATH $(PYTHON) -m robollm_core.cli.prerequisites $*

$(STAMPS)/venv$(if $(ROS),-sourced):
	@if ls $(STAMPS)/venv* >/dev/null 2>&1; then echo "make: $(VENV) was made" \
		"$(if $(ROS),without,with) a sourced ROS. Remove it with make clean, or name another:" \
		"make VENV=.venv-$(if $(ROS),ros,plain) ..." >&2; exit 1; fi
	@echo "make: creating $(VENV) with $$($(PYTHON) -V)$(if $(ROS), beside the ROS at $(ROS))"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(if $(ROS),--system-site-packages) $(VENV)
	@$(BIN)/python -m pip --disable-pip-version-check --quiet install --upgrade pip
	@$(PIP) --upgrade setuptools wheel
	@mkdir -p $(STAMPS) && touch $@

# editable, so that the command and the nodes run from this checkout
$(DEPLOY): $(STAMPS)/venv$(if $(ROS),-sourced) setup.py constraints.txt $(if $(ROS),,$(INTERFACES))
	@echo "make: installing what the robot cell needs$(if $(ROS),, and ROS 2) (1 to 2 minutes)"
	@$(PIP) --no-build-isolation --editable '.[demo,openvino,view$(if $(ROS),,$(comma)ros)]'
	@$(if $(ROS),true,$(MAKE) --no-print-directory $(STAMPS)/vision_msgs)
	@touch $@

$(STAMPS)/vision_msgs: $(INTERFACES)
	@echo "make: building vision_msgs (15 seconds)"
	@JOBS=$(JOBS) $(PIP) --no-build-isolation --no-deps --force-reinstall \
		./robollm_ros/interfaces/vision_msgs
	@touch $@

$(STAMPS)/sim: $(DEPLOY)
	@echo "make: installing the simulator (half a minute)"
	@$(PIP) --no-build-isolation --editable '.[demo,openvino,view$(if $(ROS),,$(comma)ros),sim]'
	@touch $@

$(WORKSHOP): $(DEPLOY) setup.py constraints.txt Makefile
	@echo "make: installing the workshop: torch, MuJoCo, test tools (a few minutes)"
	@$(PIP) '$(TORCH)' $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	@$(PIP) --no-build-isolation --editable \
		'.[demo,openvino,rtx$(if $(ROS),,$(comma)ros),scale,sim,train,test,view]'
	@# --no-deps: of these the metadata ask for opencv-python, which needs a desktop's libraries and
	@# overwrites opencv-python-headless; what they import is in the extra [train]
	@$(PIP) --no-deps '$(MMDET)' '$(IMAUG)' '$(MODELOPT)'
	@$(MAKE) --no-print-directory mmcv
	@$(BIN)/python -c "import mmcv.ops, mmdet.apis"
	@touch $@

.PHONY: mmcv
mmcv:
	@wheels="$(WHEELS)/$$($(BIN)/python -c 'import sys, torch; \
		print("$(subst ==,-,$(MMCV))-torch-%s-cp%d%d" % (torch.__version__, *sys.version_info[:2]))')"; \
	if ! ls "$$wheels"/*.whl >/dev/null 2>&1; then \
		echo "make: compiling $(MMCV) (about 12 minutes on 2 cores, once)"; \
		rm -rf "$$wheels.part" && mkdir -p "$$wheels.part" && \
		MMCV_WITH_OPS=1 MAX_JOBS=$(JOBS) $(BIN)/python -m pip --disable-pip-version-check --quiet \
			--no-cache-dir wheel --no-build-isolation --no-deps '$(MMCV)' -w "$$wheels.part" && \
		rm -rf "$$wheels" && mv "$$wheels.part" "$$wheels"; \
	fi && $(PIP) --no-deps "$$wheels"/*.whl
