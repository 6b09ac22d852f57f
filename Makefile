# Lorry's commands; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo build test install ci format lint docs clean

PORT ?= 8000
PREFIX ?= /usr/local
LORRY := build/release/lorry

help: ## This list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1|/' | awk -F"|" '{ printf "%-16s %s\n", $$1, $$2 }'

demo: ## Build, then serve one base and eight adapters on 127.0.0.1 (PORT=8000) and show them side by side
	@if (exec 3<>/dev/tcp/127.0.0.1/$(PORT)) 2>/dev/null; then \
	  echo "port $(PORT) of 127.0.0.1 is in use: stop what listens there, or take another one: make demo PORT=$$(($(PORT) + 1))" >&2; exit 1; fi
	@tools/setup.sh build
	@tools/build.sh release lorry
	@$(LORRY) serve --host 127.0.0.1 --port $(PORT) --no-access-log --demo-table

build: ## Build the server: build/release/lorry
	@tools/setup.sh build
	@tools/build.sh release lorry

test: ## Build everything and run every test
	@tools/setup.sh test
	@tools/build.sh release all
	@ctest --preset release

install: build ## Install the binary and the demo under PREFIX=/usr/local
	@cmake --install build/release --prefix "$(PREFIX)" --component lorry

ci: ## What CI runs: tests, format, layers, lint, sanitizers, portable kernels
	@.ci/run

format: ## Format the C++ sources
	@tools/setup.sh ci
	@git ls-files -co --exclude-standard 'src/*.cc' 'src/*.h' 'src/*.inc' 'tests/*.cc' 'tests/*.h' | xargs clang-format-19 -i --style=file

lint: ## Check layers, formatting and house rules
	@tools/setup.sh ci
	@tools/check_format.sh
	@python3 tools/check_layers.py
	@python3 tools/lint.py

docs: build ## Write docs/config.md from the option registry, and the demo's table into README.md
	@$(LORRY) help --markdown > docs/config.md
	@LORRY=$(LORRY) tools/readme_table.sh

clean: ## Remove build/
	@rm -rf build
