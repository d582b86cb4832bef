"Fixtures that the tests share."
import logging, os
from pathlib import Path
import pytest

@pytest.fixture(scope="session")
def data() -> Path:
    "The folder of real data to try things on: $CHROMEXPRESS_DATA, or ../shared/data beside the repository."
    root = Path(__file__).resolve().parents[1]
    folder = (root/os.environ.get("CHROMEXPRESS_DATA", "../shared/data")).resolve()
    if not folder.is_dir(): pytest.skip(f"no real data: {folder} is absent; set CHROMEXPRESS_DATA to its place")
    return folder

@pytest.fixture
def hear(caplog):
    "The package's messages, from INFO on, in `caplog`."
    logger = logging.getLogger("chromexpress")
    before, logger.propagate = logger.propagate, True
    caplog.set_level("INFO", "chromexpress")
    yield
    logger.propagate = before

# what takes longest, the longest first: two processes that take file after file then end at about the same time
LONGEST = ("faults", "encode", "plots", "benchmarks", "quality", "real", "known_answer", "apply", "contract", "laws", "transfer", "perturb")

def pytest_collection_modifyitems(items):
    "Order the files by how long they take."
    rank = {f"test_{name}.py": i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))
