# make demo | test | figures | readme: each sets up .venv first, if it is not there.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH  ?= torch==2.13.0
BIN    := .venv/bin
export OMP_NUM_THREADS ?= 1

.PHONY: demo test figures readme export install clean
.DEFAULT_GOAL := demo

.venv/.installed: setup.py settings.ini
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

install: .venv/.installed ## set up .venv

demo: install ## simulate a small study and run it from tracks to report
	$(BIN)/chromexpress demo --out runs/demo

test: install ## notebooks, then tests (export, cleanliness and README are among them)
	$(BIN)/nbdev_test --n_workers 2
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder tests

figures: demo ## copy the demo's figures, and the tables they were drawn from, to figures/
	rm -f figures/*.svg figures/*.csv
	cp runs/demo/results/figures/*.svg runs/demo/results/figures/*.csv figures/

export: install ## after editing a notebook: write chromexpress/ and clean the notebooks
	$(BIN)/nbdev_export
	$(BIN)/nbdev_clean

readme: install ## README.md out of nbs/index.ipynb
	$(BIN)/python -c "from nbdev.serve import proc_nbs; proc_nbs()"
	$(BIN)/jupyter nbconvert --log-level WARN --no-input --to markdown --output-dir . --output README _proc/index.ipynb
	$(BIN)/python -c "import json, re, pathlib; p = pathlib.Path('README.md'); t = re.sub(r'\A---\n.*?\n---\n+', '', p.read_text(), flags=re.S); h = ''.join(json.load(open('nbs/index.ipynb'))['cells'][0]['source']); p.write_text(h + '\n\n' + t.replace('../figures/', 'figures/').strip() + '\n')"

clean: ## forget all that was built or run
	rm -rf runs _proc _docs build dist *.egg-info .pytest_cache
