# The front door: every target brings what it needs by itself, says what it is about to do and why, and says nothing
# when there is nothing to do. `make help` lists them. The build itself is CMake's (CMakePresets.json).
SHELL      := /bin/sh
MAKEFLAGS  += --no-print-directory
PREFIX     ?= /usr/local
DESTDIR    ?=
JOBS       ?= $(shell nproc 2>/dev/null || echo 2)
PYTHON     ?= python3
BUILD      := tools/build --jobs $(JOBS)
CTEST       = ctest --test-dir build/$(1) --output-on-failure --no-label-summary --parallel $(JOBS)

.DEFAULT_GOAL := all
.PHONY: all deps test-deps demo test bench install deb sanitize asan ubsan tsan tsa mutants lint format clean help

all: deps ## build the baton command (build/release/bin/baton)
	@$(BUILD) release baton

deps: ## bring missing dependencies (tools/deps --help)
	@tools/deps --quick

test-deps:
	@tools/deps --quick --test

demo: all ## show the race, the cure, and eight callers on one model
	@build/release/bin/baton demo

test: test-deps ## build and run all tests
	@$(BUILD) dev
	@$(call CTEST,dev)

bench: deps ## what the guard and the gate cost, streaming throughput, tasks
	@$(BUILD) release baton baton_bench bench_work_child
	@build/release/bin/baton_bench
	@$(PYTHON) bench/work.py

install: deps ## install under $(PREFIX); DESTDIR is honoured
	@$(BUILD) --prefix $(PREFIX) release baton libbaton
	@DESTDIR=$(DESTDIR) cmake --install build/release

deb: ## a Debian package, build/deb/*.deb; needs a system libllama
	@tools/deps --deb
	@$(BUILD) --prefix /usr deb baton libbaton
	@cd build/deb && cpack

sanitize: asan tsan ## the tests under each sanitizer: addresses and undefined behaviour at once, then threads

asan ubsan: test-deps
	@$(BUILD) $@
	@$(call CTEST,$@) --label-exclude lint

# Without the tests that need libllama (label real): ThreadSanitizer cannot see into an uninstrumented library.
tsan: test-deps
	@$(BUILD) tsan
	@$(call CTEST,tsan) --label-regex 'fake|http|work'

tsa: deps ## clang's thread safety analysis over src/
	@tools/tsa $(JOBS)

mutants: test-deps ## take each protection away and see its test fail
	@$(PYTHON) tools/mutants.py

lint: deps ## the tree's rules, formatting, static analysis
	@tools/lint

format: deps ## format all C sources in place
	@tools/lint --format

clean: ## remove what was built (dependencies stay in .deps)
	@rm -rf build

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
