"""``layerscope df`` beside ``du -sx``, by ``python -m pytest -m bench -s`` and this file.

Both as whole processes over the same root, turn by turn, with a warm page cache; the best of several. The roots hold
200,000 and 1,000,000 files, eleven in a folder as in a distribution's ``/usr``; files are sparse, 8 kB each on average
(1.6 GB and 8 GB), since sizes cost neither of both anything. The cache of layers is empty for the first ``df`` and
written by it; the second finds it. ``one`` is ``df`` on one processor, without that cache. The sums must be du's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from make_root import make

pytestmark = pytest.mark.bench

LAYERS, IN_FOLDER, RUNS = 8, 11, 5
MOST_BYTES = 150 * 1000 * 1000
SECOND_SECONDS = 0.15
_MEASURED = """
import os, sys, time
start = time.perf_counter()
_, status, use = os.wait4(os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ), 0)
took = time.perf_counter() - start
print(took, use.ru_utime + use.ru_stime, use.ru_maxrss * 1024, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True)
class Run:
    seconds: float
    processor_seconds: float
    peak: int
    out: bytes


@dataclass(frozen=True)
class Root:
    """A root, the number of its files, and the share of its entries that containers wrote."""

    path: Path
    files: int
    written: float

    @property
    def cache(self) -> Path:
        return self.path.parent / "cache"

    def du(self) -> Run:
        return measured(["du", "-sx", "-B1", str(self.path)], self.cache)

    def df(self, *words: str, processors: int = 2) -> Run:
        own = [sys.executable, "-m", "layerscope", "--root", str(self.path), "df", "--json", *words]
        return measured(["taskset", "-c", "0" if processors == 1 else "0,1", *own], self.cache)

    def first(self) -> Run:
        shutil.rmtree(self.cache, ignore_errors=True)
        self.cache.mkdir()
        return self.df()


def measured(command: list[str], cache: Path) -> Run:
    """One run; the peak is that of the largest process."""
    # An installed program has its bytecode beside it; the first run writes what a checkout lacks.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["XDG_CACHE_HOME"] = str(cache)
    done = subprocess.run([sys.executable, "-S", "-c", _MEASURED, *command], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    seconds, processor_seconds, peak = done.stderr.split()
    return Run(float(seconds), float(processor_seconds), int(peak), done.stdout)


@pytest.fixture(scope="module", params=[(200_000, 0.015), (200_000, 0.2), (1_000_000, 0.015)], ids=str)
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Root:
    """The root to count."""
    files, written = request.param
    place = tmp_path_factory.mktemp("bench") / "root"
    make(place, files, LAYERS, 0, int(files * written), IN_FOLDER)
    time.sleep(2.5)  # younger layers are not kept
    return Root(place, files, written)


Question = Callable[[], Run]
_SECONDS: dict[tuple[int, float], float] = {}


def beside_du(root: Root, **questions: Question) -> dict[str, tuple[float, float]]:
    """The best time of each, turn by turn with du's, as ratios to it; du's seconds under ``du``. Prints all."""
    best: dict[str, Run] = {}
    least: dict[str, float] = {}
    for _ in range(RUNS):
        for name, ask in {"du": root.du, **questions}.items():
            run = ask()
            if name not in best or run.seconds < best[name].seconds:
                best[name] = run
            least[name] = min(least.get(name, run.processor_seconds), run.processor_seconds)
            if name != "du":
                assert json.loads(run.out)["total_disk"] == int(best["du"].out.split()[0])
                assert run.peak < MOST_BYTES
    du = best["du"]
    print(
        f"\n{root.files:,} files, {root.written:.1%} written: du {du.seconds:.3f} s ({least['du']:.3f} s of processors)"
    )
    for name in questions:
        run = best[name]
        print(
            f"  {name:8} {run.seconds:.3f} s, {run.seconds / du.seconds:.2f} of du; of processors {least[name]:.3f} s, "
            f"{least[name] / least['du']:.2f} of du; largest process {run.peak / 1e6:.0f} MB"
        )
    return {name: (run.seconds / du.seconds, run.seconds) for name, run in best.items()}


def test_df_beside_du(root: Root) -> None:
    found = beside_du(
        root,
        first=root.first,
        second=root.df,
        one=lambda: root.df("--no-cache", processors=1),
        nothing=lambda: root.df("--no-cache"),
    )
    du = found["du"][1]
    _SECONDS[root.files, root.written] = found["first"][1]
    share = 0.15 if root.written < 0.02 else 0.45
    assert found["first"][0] <= (1.2 if root.files < 1_000_000 else 1.0)
    assert found["one"][0] <= 1.7
    assert found["second"][1] <= share * du + SECOND_SECONDS


def test_time_grows_with_the_number_of_files() -> None:
    small, large = _SECONDS.get((200_000, 0.015)), _SECONDS.get((1_000_000, 0.015))
    if small is None or large is None:
        pytest.skip("the roots were not measured")
    print(f"\nfive times the files: {large / small:.1f} times the time")
    assert large <= 5 * 1.2 * small
