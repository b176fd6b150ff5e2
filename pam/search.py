"""`python -m pam.search STUDY`: find settings for a study's rows, and write the winners as a study to run.

Settings are chosen by Dice on a validation split inside the training side of one fold. Trials are kept in an Optuna
database under PAM_HOME, so that a search goes on after any interruption. Its values never reach a table: the winners
are cells of an ordinary study, tested on the one fold whose test patients the search has not seen.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from pam import checkpoints, cli, home
from pam.counts import counted
from pam.data.folds import Split
from pam.data.processes import exclusive
from pam.data.splits import inner
from pam.data.store import Store
from pam.errors import StudyError
from pam.files import check_writable, is_storage, write_text
from pam.study import RESULTS_VERSION, Cell, Range, Recipe, Search, Study, Variant
from pam.sweep import arm, disk, nodes, preflight, request, schedule
from pam.sweep.events import storage_failed
from pam.sweep.packing import Placement, alone
from pam.sweep.plan import bind, check, check_buildable, splits_of

FACTOR = 3  # of epochs from one rung to the next; of the trials at a rung, one in three goes on
FIRST_SHARE = 27  # the first rung is at this part of the epochs, at least at one
TRIES = 3  # of a trial that raises or whose process dies; each goes on from its checkpoint
HEADER = '"""Winners of the search '


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row's search: its trials are an Optuna study of their own."""

    study: Study  # with this row alone
    search: Search
    store: Store
    inner: Split
    trials: optuna.Study
    rungs: tuple[int, ...]  # epochs at which trials are scored, and compared with those that reached the same

    @property
    def name(self) -> str:
        return self.study.reference.name

    @property
    def to_do(self) -> int:
        """Trials that have not ended."""
        return self.search.trials - sum(trial.state.is_finished() for trial in self.trials.get_trials(deepcopy=False))


def main(argv: Sequence[str] | None = None) -> int:
    """Search, or go on with a search, and write the winners' study; 1 if a row has none."""
    arguments = _parse(argv)
    placement = Placement(address=arguments.address, cpus=arguments.cpus, gpus=arguments.gpus)
    asked = request.of(arguments)
    if asked.study.search is None:
        raise StudyError(f"study {asked.study.name!r} declares no search; expected search=Search(space={{…}})")
    study, _ = request.settle(asked)
    search = asked.study.search
    out = _out(arguments.out, study.name)
    store = request.open_store(study.dataset)
    _check_space(study, search, store)
    if home.is_remote():
        raise StudyError(
            f"a search keeps its trials in a database file, and PAM_HOME is {home.address()}; set a folder"
        )
    folder = home.searches() / study.name
    for place in (folder, home.checkpoints()):
        check_writable(place)
    with exclusive(folder / ".lock", waiting=lambda: print("another process runs this search; waiting")):
        rows = _rows(study, search, store, folder)
        if any(row.to_do > 0 for row in rows):
            for row in rows:
                print(f"{row.name}: {search.trials - row.to_do} of {counted(search.trials, 'trial')} done", flush=True)
            with schedule.cluster(placement.address):
                stopped = _run(rows, placement)
            if stopped:
                print(f"{stopped}: the same command goes on with the trials that have not ended")
                return 1
        winners = {row.name: _winners(row) for row in rows}
    lacking = [name for name, found in winners.items() if not found]
    for name in lacking:
        print(f"{name}: no trial ended with a score, so there is no winner")
    if len(lacking) < len(rows):
        write_text(out, source(study, search, [variant for found in winners.values() for variant in found]))
        print(f"winners in {out}; run: python -m pam.sweep {out}")
    print(f"trials: optuna-dashboard {_database(folder)}")
    return 1 if lacking else 0


def _run(rows: Sequence[Row], placement: Placement) -> str:
    """Bring every row's trials to their end, as many at once as the cluster holds; why it stopped early, or ""."""
    resources = alone(placement)
    planned = [(_cell(row, row.study.reference), row.inner) for row in rows]
    at_once = schedule.slots(resources)
    expected = disk.needed(planned, rows[0].store, at_once=at_once, keep_weights=False, mirrored=False)
    preflight.check(rows[0].store, resources, "", expected)
    running: dict[nodes.Remote[arm.Scored], _Trial] = {}
    waiting, held = _trials(rows), list[_Trial]()

    def start(trial: _Trial) -> None:
        row = trial.row
        arguments = (trial.cell, row.inner, str(row.store.path), placement.cpus, row.rungs)
        running[nodes.Remote(arm.run_there, *arguments, cpus=resources.cpus, gpus=resources.gpus)] = trial

    while True:
        while len(running) < at_once and (trial := _free(waiting, held, running.values())) is not None:
            start(trial)
        if not running:
            return ""
        remote = nodes.Remote.ready(list(running))
        trial = running[remote]
        try:
            scored = remote.item()
        except nodes.WorkLost as error:
            running.pop(remote)
            remote.end()
            if error.raised is not None and is_storage(error.raised):
                return storage_failed(error.raised)
            if trial.died(str(error)):
                start(trial)
            continue
        if scored is not None and trial.goes_on(*scored):
            remote.next()
        else:
            running.pop(remote)
            remote.end()


def _free(waiting: Iterator[_Trial], held: list[_Trial], running: Collection[_Trial]) -> _Trial | None:
    """The next trial that no running one trains already: a twin is held until that one ends, and takes its result."""
    busy = {trial.cell.id for trial in running}
    for trial in [trial for trial in held if trial.cell.id not in busy]:
        held.remove(trial)
        if not trial.ended_before():
            return trial
    for trial in waiting:
        if trial.cell.id not in busy:
            return trial
        held.append(trial)
    return None


class _Trial:
    """A running trial: an Optuna trial and the cell that it trains."""

    def __init__(self, row: Row, trial: optuna.Trial) -> None:
        self.row = row
        for name, values in row.search.space.items():  # one that was interrupted keeps what it was given
            _suggest(trial, name, values)
        self._trial = trial
        self._tries = 1
        self.cell = _cell(row, row.study.reference.with_settings(**_chosen(row.search, trial.params)))

    def ended_before(self) -> bool:
        """Whether a trial with the same settings has ended; this one then has its result."""
        for twin in self.row.trials.get_trials(deepcopy=False):
            if twin.state.is_finished() and twin.params == self._trial.params:
                for epoch, score in twin.intermediate_values.items():
                    self._trial.report(score, epoch)
                self._end(twin.state, f"as trial {twin.number}", twin.value if twin.value is not None else None)
                return True
        return False

    def goes_on(self, epoch: int, score: float) -> bool:
        """Take up a rung's score; False once the trial is at its end or among those that stop here."""
        known = self._trial.storage.get_trial(self._trial._trial_id).intermediate_values
        if epoch not in known:
            self._trial.report(score, epoch)
        if math.isnan(score):
            self._end(TrialState.FAIL, f"diverged before epoch {epoch}")
        elif epoch == self.row.rungs[-1]:
            self._end(TrialState.COMPLETE, f"Dice {score:.4f}", score)
        elif epoch not in known and self._trial.should_prune():
            self._end(TrialState.PRUNED, f"stopped at epoch {epoch} of {self.row.rungs[-1]}, Dice {score:.4f}")
        else:
            return True
        return False

    def died(self, reason: str) -> bool:
        """Whether to try again after the trial raised or its process died."""
        self._tries += 1
        if self._tries <= TRIES:
            return True
        self._end(TrialState.FAIL, f"failed: {reason}")
        return False

    def _end(self, state: TrialState, words: str, value: float | None = None) -> None:
        self.row.trials.tell(self._trial, value, state=state)
        checkpoints.forget(arm.key(self.cell))
        chosen = _chosen(self.row.search, self._trial.params)
        shown = (f"{n}={v:.4g}" if isinstance(v, float) else f"{n}={v}" for n, v in chosen.items())
        print(f"{self.row.name}: trial {self._trial.number}: {words} ({', '.join(shown)})", flush=True)


def _trials(rows: Sequence[Row]) -> Iterator[_Trial]:
    """Trials that an earlier run left unfinished, then new ones, of one row after the other."""
    for row in rows:
        for frozen in row.trials.get_trials(states=(TrialState.RUNNING,)):
            yield _Trial(row, optuna.Trial(row.trials, frozen._trial_id))
        while len(row.trials.get_trials(deepcopy=False)) < row.search.trials:
            trial = _Trial(row, row.trials.ask())
            if not trial.ended_before():
                yield trial


def _rows(study: Study, search: Search, store: Store, folder: Path) -> list[Row]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    inside = inner(splits_of(study, store)[search.fold])
    storage = optuna.storages.RDBStorage(_database(folder))
    alone = [replace(study, reference=variant, variants=(), claims=(), panels=()) for variant in study.rows]
    return [_row(one, search, store, inside, storage) for one in alone]


def _row(study: Study, search: Search, store: Store, inside: Split, storage: optuna.storages.RDBStorage) -> Row:
    (declared,) = study.cells([search.fold], [0])
    cell = bind(declared, store, inside)
    epochs = Recipe(**cell.recipe).epochs
    first = max(1, epochs // FIRST_SHARE)
    name = _identity(search, cell)
    earlier = {found.study_name: found.n_trials for found in optuna.get_all_study_summaries(storage)}.get(name, 0)
    pruner: optuna.pruners.BasePruner = optuna.pruners.HyperbandPruner(first, epochs, FACTOR)
    if search.scheduler == "asha":
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=FACTOR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # A sampler begins anew with each process: from the same seed it would draw the first trials again.
        sampler = optuna.samplers.TPESampler(seed=search.seed + earlier, constant_liar=True)
    trials = optuna.create_study(
        storage=storage, study_name=name, direction="maximize", sampler=sampler, pruner=pruner, load_if_exists=True
    )
    rungs = {epochs, *(first * FACTOR**n for n in range(20) if first * FACTOR**n <= epochs)}
    return Row(study=study, search=search, store=store, inner=inside, trials=trials, rungs=tuple(sorted(rungs)))


def _cell(row: Row, variant: Variant) -> Cell:
    """The variant's cell inside the training side of the search's fold."""
    (declared,) = replace(row.study, reference=variant).cells([row.search.fold], [0])
    return bind(replace(declared, seed=row.search.seed), row.store, row.inner)


def _identity(search: Search, cell: Cell) -> str:
    """The name of a row's trials: another space, recipe or data set is another search; more trials are the same."""
    space = {name: repr(values) for name, values in sorted(search.space.items())}
    determinants = [RESULTS_VERSION, space, search.scheduler, search.seed, cell.id]
    return f"{cell.label} {hashlib.sha256(json.dumps(determinants).encode()).hexdigest()[:8]}"


def _suggest(trial: optuna.Trial, name: str, values: Range | Sequence[Any]) -> None:
    if not isinstance(values, Range):
        trial.suggest_categorical(name, [repr(value) for value in values])  # as text: a value may be a tuple
    elif isinstance(values.low, int) and isinstance(values.high, int):
        trial.suggest_int(name, values.low, values.high, log=values.log)
    else:
        trial.suggest_float(name, values.low, values.high, log=values.log)


def _chosen(search: Search, params: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's parameters as the space's own values."""
    chosen = dict(params)
    for name, values in search.space.items():
        if not isinstance(values, Range):
            chosen[name] = next(value for value in values if repr(value) == params[name])
    return chosen


def _check_space(study: Study, search: Search, store: Store) -> None:
    """Raise `StudyError` for a name or a value that some row does not take."""
    ends = {name: (v.low, v.high) if isinstance(v, Range) else tuple(v) for name, v in search.space.items()}
    first = {name: values[0] for name, values in ends.items()}
    splits = splits_of(study, store)
    if not 0 <= search.fold < len(splits):
        raise StudyError(f"study {study.name!r}: the search is in fold {search.fold}; it has {len(splits)}")
    for row in study.rows:
        for name, values in ends.items():
            for value in values:
                variant = row.with_settings(**{**first, name: value})
                one = replace(study, reference=variant, variants=(), claims=(), panels=(), published={})
                check(one)
                check_buildable([bind(one.cells([0], [0])[0], store, splits[search.fold])], store)


def _winners(row: Row) -> list[Variant]:
    """The variants of the best trials that trained for all epochs, best first; equal settings count once."""
    complete = row.trials.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    best = sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))
    settings = {repr(sorted(trial.params.items())): _chosen(row.search, trial.params) for trial in reversed(best)}
    chosen = list(reversed(settings.values()))[: row.search.winners]
    return [
        replace(row.study.reference.with_settings(**values), label=f"{row.name}, found{f' {n}' * (len(chosen) > 1)}")
        for n, values in enumerate(chosen, start=1)
    ]


def source(study: Study, search: Search, winners: Sequence[Variant]) -> str:
    """The winners' study as Python: the rows that were searched from, untouched, against those that were found."""
    rows = [*study.variants, *winners]
    fields = {
        "question": f"{study.question} (settings found by the search {study.name})",
        "dataset": study.dataset,
        "reference": study.reference,
        "folds": study.folds,
        "seeds": study.seeds,
        "recipe": dict(study.recipe),
        **({"split": study.split} if study.split else {}),
        "tested": (search.fold,),
    }
    lines = [f"    {name}={_code(value)},\n" for name, value in fields.items()]
    lines.insert(3, "    variants=(\n" + "".join(f"        {_code(row)},\n" for row in rows) + "    ),\n")
    return (
        f"{HEADER}{study.name}, of {counted(search.trials, 'trial')} a row; made by `python -m pam.search`.\n\n"
        f"They were chosen inside the training side of fold {search.fold}. Its test patients were never seen; those\n"
        'of the other folds were, so only this fold is run.\n"""\n\n'
        "from pam.study import Study, Variant\n\n"
        f"STUDY = Study(\n{''.join(lines)})\n"
    )


def _code(value: object) -> str:
    if isinstance(value, Variant):
        return f"Variant({value.network!r}, {dict(value.options)!r}, {dict(value.recipe)!r}, label={value.name!r})"
    return repr(value)


def _out(asked: Path | None, name: str) -> Path:
    """Where the winners' study goes. Raises `StudyError` where a file lies that no search has made."""
    beside = Path("tune_spaces")
    path = asked or (beside if beside.is_dir() else Path()) / f"{name}_found.py"
    if path.exists() and not path.read_text(encoding="utf-8").startswith(HEADER):
        raise StudyError(f"{path}: not made by a search, so it is not written over; name another file with --out")
    return path


def _database(folder: Path) -> str:
    return f"sqlite:///{folder / 'optuna.db'}"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m pam.search", description="Find settings, and write them as a study to run.")
    request.add_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="the winners' study (default: STUDY_found.py)")
    parser.add_argument("--address", help="the Ray cluster's address (default: RAY_ADDRESS, else this machine)")
    parser.add_argument("--cpus", type=int, default=1, help="CPUs per trial (default: 1)")
    parser.add_argument("--gpus", type=float, help="GPUs per trial (default: 1 where there are any)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main)
