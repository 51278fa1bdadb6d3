# Two commands do everything from a fresh clone: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check audit loadtest torture fuzz bench bench-catalog bench-page results results-page notebook clean

# Render a showroom, train, export, serve, index and rank: the product, once, from nothing.
demo: .venv/installed
	$(BIN)/python -m completelook_build.demo

# Load tests on the embedded server: a ramp of arrival rates, twice the knee, recovery. Minutes.
loadtest: .venv/dev demo/catalog.arrow
	$(BIN)/python -m completelook_load.traffic

# The served model beside the bare one and other servers, into docs/benchmarks.md. About an hour.
bench: .venv/dev demo/catalog.arrow
	$(BIN)/python -m completelook_load.bench

# A catalog of a million made-up products, its ratios into docs/catalog.md. Minutes, 4 GB of disk.
bench-catalog: .venv/dev
	$(BIN)/python -m completelook_load.catalog

# Everything that can be broken, broken on purpose, into docs/reliability.md. About an hour.
torture: .venv/dev
	$(BIN)/python -m completelook_load.faults

# Bytes that grow towards new code, for what reads pictures, catalogs and tables; a minute each.
fuzz: .venv/dev
	$(BIN)/python -m completelook_load.faults.fuzz

# The page of `completelook web` in Chromium, its figures into docs/web.md. A minute.
bench-page: .venv/dev demo/catalog.arrow
	$(BIN)/python -m completelook_load.page

demo/catalog.arrow:
	$(MAKE) demo

# The tables of docs/results.md, anew; PHOTOS=DIR adds a set of real pictures. Hours on two cores.
results: .venv/installed
	$(BIN)/python -m completelook_build.results $(PHOTOS)

# The pages alone, from the figures in docs/: after a change of their text or of the code behind.
results-page: .venv/dev
	$(BIN)/python -m completelook_build.results --page-only
	$(BIN)/python -m completelook_load.bench --page-only
	$(BIN)/python -m completelook_load.catalog --page-only
	$(BIN)/python -m completelook_load.faults --page-only

# docs/notebook.ipynb, run anew on what the demo made.
notebook: .venv/dev demo/catalog.arrow
	$(BIN)/python tests/run_notebook.py

# Format, lint, floors, types, tests. Those of Milvus skip, and say so, where it cannot be had.
test: .venv/dev check
	-$(MAKE) .venv-milvus/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: .venv/dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports
	$(BIN)/mypy

# Known vulnerabilities of the pinned packages. Asks PyPI: not a part of `check`, which runs offline.
audit: .venv/installed
	$(BIN)/uv tool run --from pip-audit==2.10.1 pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

# uv comes from pip and installs the rest: a minute instead of several.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --compile-bytecode --editable '.[backbones,server,web]'
	touch $@

# What tests, checks and benchmarks need beside.
.venv/dev: .venv/installed
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --compile-bytecode --editable '.[dev]'
	touch $@

# A Milvus server for the tests, in an environment of its own: its wheel needs an old setuptools.
.venv-milvus/installed: | .venv/installed
	$(PYTHON) -m venv .venv-milvus
	$(BIN)/uv pip install --quiet --python .venv-milvus/bin/python milvus==2.3.5 'setuptools<81'
	touch $@

# What the demo made, the exported models and the environment.
clean:
	rm -rf .venv .venv-milvus demo model_repository/*/1/model.pt model_repository/embed_scene/1/golden.json
