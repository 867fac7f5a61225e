"""The trials of a study: asking for values, counting what all workers have, telling what was found, replacing what
was lost.
"""

from __future__ import annotations

import os
import socket
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field
from math import inf, isfinite
from threading import Event, Thread
from typing import Any

from dse.search.blocks import MEMORY
from dse.search.grid import Aim, Found, Progress, names_of, search_grids
from dse.search.pareto import Scale
from dse.search.record import FOUND, found_of, record_of
from dse.search.storage import BEAT, retry
from dse.search.structures import Structure

TOGETHER = 16
"""Most trials whose grids are evaluated as one: what they share is computed once."""
ROUNDS = 20
"""In how many rounds a sampler gets its trials at least, so that it learns between them."""
PLANS = 2_000_000
"""Most plans of one round: larger grids share nothing worth waiting for."""
PAUSE, LONG_PAUSE = 0.02, 0.5
"""Seconds between looks at what other workers still run: the first, and the most."""
PATIENCE = 120.0
"""Seconds after which a trial of another machine in a journal, which has no signs of life, may count as lost..."""
TIMES = 10.0
"""...once it has also run so many times longer than the longest finished one."""
UNSIGNED = 15.0
"""Seconds after which a trial that nobody has signed is one whose worker died while asking for it."""
WORST = 1e30
WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Settings:
    """How to search. trials: outer points in all, those of an earlier run of the study and of other workers included.
    """

    trials: int = 200
    seed: int = 0
    storage: str | None = None
    study: str = "dse"
    memory: float = MEMORY
    sampler: str = "tpe"
    workers: int = 1


@dataclass(slots=True)
class Run:
    """A structure's study as this process sees it.

    target: trials it is to have. base: what its grid holds at the defaults. storage: where others may work on it too,
    None in memory. sample: plans to keep of each trial beside the front. held: what the trials of a study in memory
    found, by number.
    """

    structure: Structure
    study: Any
    target: int
    scale: Scale
    base: Found | None = None
    storage: Any = None
    sample: int = 0
    workers: int = 1
    held: dict[int, Found] = field(default_factory=dict)

    @property
    def beats(self) -> bool:
        """Whether the storage records signs of life."""
        return hasattr(self.storage, "record_heartbeat")

    def live(self) -> tuple[int, int]:
        """Trials that are finished, and that are finished or run."""
        states = _states()
        complete = len(self.trials(states.COMPLETE))
        return complete, complete + len(self.trials(states.RUNNING))

    def trials(self, *states: Any) -> list[Any]:
        """Trials in these states, by number."""
        found: list[Any] = self.study.get_trials(deepcopy=False, states=states)
        return found

    def finished(self, aim: Aim, where: str) -> Iterator[tuple[int, Found]]:
        """Number and finding of each finished trial, whoever ran it."""
        names = names_of(self.structure.space, aim)
        for trial in sorted(self.trials(_states().COMPLETE), key=lambda t: t.number):
            held = self.held.get(trial.number)
            yield trial.number, held or found_of(trial.user_attrs.get(FOUND), names, where)

    def round(self, room: int) -> int:
        """How many trials to ask for at once, where so many are missing."""
        size = max(self.structure.space.size, 1)
        return max(1, min(room // self.workers, TOGETHER, self.target // ROUNDS, PLANS // size))


def _states() -> Any:
    from optuna.trial import TrialState

    return TrialState


def finished(runs: Sequence[Run]) -> tuple[int, int]:
    """Finished trials of all studies, and how many there are to be."""
    return sum(run.live()[0] for run in runs), sum(run.target for run in runs)


def conduct(runs: Sequence[Run], aim: Aim, memory: float, progress: Progress) -> float:
    """Trials until every study has its number; returns the seconds that grids took.

    The study that has the smallest part of its trials goes next. Where others run the last ones, waits for them, as
    what is lost with its worker has to be run again.
    """
    spent, pause, total = 0.0, PAUSE, sum(run.target for run in runs)
    while True:
        counts = [run.live() for run in runs]
        progress(sum(complete for complete, _ in counts), total)
        short = [i for i, run in enumerate(runs) if counts[i][1] < run.target]
        if short:
            chosen = min(short, key=lambda i: counts[i][1] / runs[i].target)
            spent += _round(runs[chosen], runs[chosen].target - counts[chosen][1], aim, memory)
        elif all(complete >= run.target for (complete, _), run in zip(counts, runs, strict=True)):
            return spent
        else:
            time.sleep(pause)
            pause = min(2 * pause, LONG_PAUSE)
        for run in runs:
            if run.storage is not None:
                replace_lost(run)


def _round(run: Run, room: int, aim: Aim, memory: float) -> float:
    """Ask for a few trials, search their grids together, and tell what they found. What is interrupted is failed, and
    queued again for who goes on.
    """
    from optuna.exceptions import UpdateFinishedTrialError

    waiting: list[Any] = []
    try:
        for _ in range(run.round(room)):
            waiting.append(_ask(run))
            _sign(run, waiting[-1])
        trials = _admitted(run, waiting)
        values = [{v.name: v.suggest(trial) for v in run.structure.space.sampled} for trial in trials]
        with _beating(run, trials):
            start = time.perf_counter()
            founds = _founds(run, aim, values, memory)
            spent = time.perf_counter() - start
            for trial, found in zip(trials, founds, strict=True):
                _tell(run, trial, aim, found)
                waiting.remove(trial)
    except BaseException as problem:
        _give_up(run, waiting)
        if isinstance(problem, UpdateFinishedTrialError):
            return 0.0      # this process slept for so long that another has failed the trial and run it again
        raise
    return spent


def _ask(run: Run) -> Any:
    if not run.beats:
        return run.study.ask()
    with warnings.catch_warnings():     # of its own loop being the one that beats: `_beating` does
        warnings.filterwarnings("ignore", "Heartbeat of storage", UserWarning)
        return run.study.ask()


def _sign(run: Run, trial: Any) -> None:
    """Say who runs a trial, so that others see when its worker is gone."""
    if run.storage is not None:
        trial.set_user_attr(WORKER, f"{socket.gethostname()} {_process(os.getpid())}")
    if run.beats:
        run.storage.record_heartbeat(trial._trial_id)


def _admitted(run: Run, waiting: list[Any]) -> list[Any]:
    """The trials that are not too many: of workers who ask at once, those with the lowest numbers. Others are dropped.
    """
    if run.storage is None:
        return list(waiting)
    live = [t.number for t in run.trials(_states().COMPLETE, _states().RUNNING)]
    kept = []
    for trial in list(waiting):
        if sum(number < trial.number for number in live) < run.target:
            kept.append(trial)
        else:
            run.study.tell(trial, state=_states().FAIL)
            waiting.remove(trial)
    return kept


def _founds(run: Run, aim: Aim, values: Sequence[Mapping[str, float]], memory: float) -> list[Found]:
    """What the grids hold; the one at the defaults may be known."""
    space = run.structure.space
    new = [at for at in values if run.base is None or at != space.defaults]
    made = iter(search_grids(space, aim, new, memory, run.sample) if new else ())
    return [run.base if run.base is not None and at == space.defaults else next(made) for at in values]


def _tell(run: Run, trial: Any, aim: Aim, found: Found) -> None:
    """The trial's worth, its constraint by name, and what it found for later."""
    if run.storage is not None:
        trial.set_user_attr(FOUND, record_of(found))
    else:
        run.held[trial.number] = found
    name = "feasible" if found.miss is None else found.miss.constraint
    if name not in trial.constraints:       # one that is tried again may have it
        trial.set_constraint(name, 0.0 if found.miss is None else min(found.miss.excess, WORST))
    run.study.tell(trial, worth(aim, found, run.scale))


def worth(aim: Aim, found: Found, scale: Scale) -> float:
    """What a sampler betters: the hypervolume of a trial's front, or its best value."""
    if len(aim.objectives) > 1:
        return scale.hypervolume(found.front.columns(aim.objectives))
    table = found.front if found.miss is None else found.miss.point
    value = float(table.column(aim.objectives[0])[0]) if len(table) else inf
    return value if isfinite(value) else -WORST * aim.better[0]


def _give_up(run: Run, trials: Sequence[Any]) -> None:
    for trial in trials:
        run.study.tell(trial, state=_states().FAIL, skip_if_finished=True)
        if run.storage is not None:
            _again(run, trial.number)


def _again(run: Run, number: int) -> None:
    """Queue a failed trial's values again."""
    failed = next((t for t in run.trials(_states().FAIL) if t.number == number), None)
    if failed is not None and failed.params:
        again = copy(failed)
        again.user_attrs = {}               # who ran it is gone
        retry()(run.study, again)


def replace_lost(run: Run) -> None:
    """Fail the trials whose worker is gone, and queue their values again."""
    import optuna

    with warnings.catch_warnings():     # experimental since 2021
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(run.study)
    for trial in run.trials(_states().RUNNING):
        if _is_lost(run, trial):
            try:
                run.study.tell(trial.number, state=_states().FAIL)
            except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
                continue                # another worker saw it first
            _again(run, trial.number)


def _is_lost(run: Run, trial: Any) -> bool:
    """Whether nobody runs a trial any more: its process is gone, or it is another machine's and overdue."""
    running: float = time.time() - trial.datetime_start.timestamp()
    host, _, process = str(trial.user_attrs.get(WORKER, "")).rpartition(" ")
    if not host:
        return running > UNSIGNED
    if run.beats:
        return False
    if host == socket.gethostname():
        number = process.partition("@")[0]
        return process != _process(int(number) if number.isdigit() else -1)
    took = [t.duration.total_seconds() for t in run.trials(_states().COMPLETE) if t.duration]
    longest: float = max(took, default=inf)
    return running > max(PATIENCE, TIMES * longest)


def _process(number: int) -> str:
    """A process by number and, where the system tells, by when it began: numbers are used again. Empty if gone."""
    try:
        os.kill(number, 0)
        with open(f"/proc/{number}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except FileNotFoundError:
        return f"{number}@"
    except (OSError, OverflowError):
        return ""
    return "" if fields[0] == b"Z" else f"{number}@{fields[19].decode()}"


@contextmanager
def _beating(run: Run, trials: Sequence[Any]) -> Iterator[None]:
    """Signs of life of the trials while the block runs, where the storage records them."""
    if not run.beats:
        yield
        return
    done = Event()

    def beat() -> None:
        with suppress(Exception):           # a lost server is found and told by the work itself
            while not done.wait(BEAT):
                for trial in trials:
                    run.storage.record_heartbeat(trial._trial_id)
        with suppress(Exception):
            run.storage.remove_session()

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
