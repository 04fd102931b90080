# Works from any folder, one with a space in its name included: all paths here are relative.

# The Python that .venv is made with.
PYTHON ?= python3
# Further arguments for pytest, for example: make test ARGS='-k sampling'
ARGS ?=

DEMO = --method seq_reptile --model_name_or_path offline-multilingual --trim_vocabulary --dataset_name sample \
  --languages ar de en es hi ru sw zh --eval_languages ar de en es hi ru sw zh fr tr \
  --inner_steps 25 --outer_learning_rate 0.5 --learning_rate 3e-4 --max_steps 400 --logging_steps 20 \
  --do_train --do_eval --do_predict --eval_on_start --eval_strategy steps --eval_steps 100 --output_dir out/demo

ONE_THREAD = OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
ON_2_CORES = -m pytest -n 2 --dist loadfile $(ARGS)
PYTEST = $(ONE_THREAD) .venv/bin/python $(ON_2_CORES)

.PHONY: help demo test test-all test-lowest quality docs clean

help:
	@printf '%s\n' \
	  'make demo         train and evaluate on the bundled sample, without the Hub; minutes on 2 cores' \
	  'make test         run the tests, but for the slow ones (ARGS="-k sampling" chooses some)' \
	  'make test-all     run all tests' \
	  'make test-lowest  run the tests with the lowest versions that setup.cfg admits, in .venv-lowest' \
	  'make quality      lint, check formatting, types and the length of lines' \
	  'make docs         build the documentation in out/site; any broken link fails it' \
	  'make clean        remove the environments, caches, build outputs and out/demo' \
	  '' \
	  'The first of them installs everything into .venv. PYTHON=... names the Python to use, 3.11 or later. The tests' \
	  'are run on 3.11 with the versions of constraints.txt; they passed on 3.13 with torch 2.6 and the lowest versions' \
	  'of the others, and with torch 2.14 and transformers 5.24. For 3.14 all packages have wheels but atheris and' \
	  'seqeval.' \
	  'On Linux without a GPU, put PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu before make:' \
	  'it saves several gigabytes of CUDA libraries.'

demo: .venv/.installed
	@rm -rf out/demo
	HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false .venv/bin/python run_ner.py $(DEMO)

test: .venv/.installed
	$(PYTEST)

test-all: .venv/.installed
	$(PYTEST) -m ''

# uv chooses the versions, which pip cannot. Python 3.11, since for later ones some of the lowest have no wheels. On
# Linux without a GPU, put UV_TORCH_BACKEND=cpu before make.
test-lowest:
	"$(PYTHON)" -m venv --clear .venv-lowest
	.venv-lowest/bin/python -m pip install -c constraints.txt uv
	.venv-lowest/bin/uv pip install --python .venv-lowest/bin/python --resolution lowest-direct -e '.[test]'
	$(ONE_THREAD) .venv-lowest/bin/python $(ON_2_CORES)

quality: .venv/.installed
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy
	.venv/bin/python -m pymarkdown scan -r *.md docs

docs: .venv/.installed
	OMP_NUM_THREADS=1 .venv/bin/python -m sphinx -q -W --keep-going -E -c docs -d out/site/.doctrees . out/site
	@echo 'The documentation is in out/site/index.html'

clean:
	rm -rf .venv .venv-lowest .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info out/demo out/site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Once, and again when one of these files changes. The environment variables hold the build requirements to
# constraints.txt as well; which of them pip reads depends on its version.
.venv/.installed: setup.cfg pyproject.toml constraints.txt
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || { \
	  "$(PYTHON)" -c '' 2>/dev/null || { \
	    echo 'error: $(PYTHON) does not run. Name a Python 3.11 or later: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)' >&2; exit 1; }; \
	  "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "error: $(PYTHON) is $$("$(PYTHON)" --version 2>&1), but Python 3.11 or later is needed: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }; \
	  "$(PYTHON)" -m venv --clear .venv || { \
	    echo 'error: $(PYTHON) cannot make a virtual environment (Debian and Ubuntu: apt install python3-venv).' >&2; exit 1; }; \
	}
	@echo 'Installing into .venv: once, a few minutes. On Linux without a GPU see `make help`.'
	PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_USE_PEP517=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
	  .venv/bin/python -m pip install -c constraints.txt -e '.[test,quality,offline]'
	@touch .venv/.installed
