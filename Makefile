# make setup, make demo, make test: all that is needed is Python 3.11 or later.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready

.PHONY: all setup demo test docs lint matrix conform judges bench clean
all: test

# What the lock file pins, checked by hash, and zonedev itself from this tree.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("zonedev needs Python 3.11 or later: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

setup: $(READY)

# Ten years of patches and one device-dax page: does unbind wait for a pin?
# Exit code 2 means violated, which is the answer here and no failure of make.
demo: $(READY)
	@for design in linux-4.5 linux-4.12 linux-5.10 linux-6.1 linux-6.15 linux-7.2; do \
		$(BIN)/zonedev check devdax-unbind-vs-pin --design $$design; code=$$?; echo; \
		test $$code -eq 0 -o $$code -eq 2 || exit 1; \
	done
	@$(BIN)/zonedev matrix
	@echo; $(MAKE) --no-print-directory conform KERNELS=5.10,6.1,6.12,7.2 SCENARIOS=devdax-unbind-vs-pin

test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --dist loadgroup

# The documentation, in build/docs.  Every claim of its pages is checked on the way; one that is not so,
# or a link that leads nowhere, is an error.
docs: $(READY)
	$(BIN)/sphinx-build --jobs auto --quiet --fail-on-warning --keep-going docs build/docs
	@echo "build/docs/index.html"

# The same on real kernels.  Exit code 3 of set-up means that something is missing, which is said: no
# failure.  Once they are there, a run that cannot be made is one.
KERNELS ?= 5.10,7.2
SCENARIOS ?=
FS ?=
conform: $(READY)
	@$(BIN)/zonedev lab setup --kernel $(KERNELS); code=$$?; \
	if [ $$code -eq 0 ]; then \
		$(BIN)/zonedev conform $(SCENARIOS) --kernel $(KERNELS) $(if $(FS),--fs $(FS)) $(FORMAT); \
	else \
		test $$code -eq 3 && echo "SKIP real kernels: the lines above say why"; \
	fi

matrix: $(READY)
	$(BIN)/zonedev matrix

# The catalogue before SPIN, rumur and TLC, and zonedev's time to verdict beside theirs.  A judge that
# is not installed is skipped, with a line that says how to get it.
judges: $(READY)
	$(BIN)/python benchmarks/judges.py

bench: $(READY)
	$(BIN)/python benchmarks/peers.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
