#!/usr/bin/env python3
"""Measures the real NeuralProphet on the windows that "selfscale backtest --export DIR" wrote.

usage: compare.py DIR [--check] [--limit N] [--format table|json]

Every window is fitted and forecast as the original system does it: one
NeuralProphet() a series with all of its defaults, predictions below zero cut. The
columns are computed here for NeuralProphet and once more for every row that the
export holds; where the latter differ from the report beside them the program
stops, so that nobody compares two different measures.

What NeuralProphet answered is kept in DIR/neuralprophet.csv, window by window: a
call that was ended goes on where it stopped.
"""

import argparse
import csv
import json
import logging
import math
import os
import pathlib
import platform
import resource
import sys
import time
import warnings
from collections import defaultdict

NEURAL_PROPHET = "neuralprophet"
RATIO_FLOOR = 0.005  # in units of MASE, as jobs/trainer/backtest adds to both sides of a ratio
MAX_LEAP = 1000  # windows that lie further from their history than this are left out


def number(text):
    return float(text) if text else math.nan


def read_windows(path):
    """Returns {window: {"series", "history": [(time, value)], "actual": [...]}}."""
    windows = {}
    with open(path, newline="") as f:
        for row in csv.DictReader(f):
            w = windows.setdefault(row["window"], {"series": row["series"], "history": [], "actual": []})
            w[row["part"]].append((row["time"], number(row["value"])))
    return windows


def read_forecasts(path):
    """Returns {model: {window: [median]}}."""
    models = defaultdict(lambda: defaultdict(list))
    with open(path, newline="") as f:
        for row in csv.DictReader(f):
            models[row["model"]][row["window"]].append(number(row["median"]))
    return models


def present(values):
    return [v for v in values if not math.isnan(v)]


def scale(y, season):
    """What one unit of MASE is worth; NaN where the history is one value throughout."""
    known = present(y)
    if not known:
        return math.nan
    mean = sum(known) / len(known)
    deviation = sum(abs(v - mean) for v in known)
    if deviation <= 1e-12 * len(known) * abs(mean):
        return math.nan
    steps = present(abs(y[i] - y[i - season]) for i in range(season, len(y)))
    seasonal = sum(steps) / len(steps) if steps else 0.0
    return max(seasonal, 0.1 * deviation / len(known), 1e-3 * abs(mean))


def measured(windows, season):
    """Returns {window: scale} of the windows that count."""
    out = {}
    for key, w in windows.items():
        history, actual = [v for _, v in w["history"]], present(v for _, v in w["actual"])
        s = scale(history, season)
        if math.isnan(s) or not actual:
            continue
        known = present(history)
        if abs(sum(actual) / len(actual) - sum(known) / len(known)) > MAX_LEAP * s:
            continue
        out[key] = s
    return out


def errors(windows, scales, forecasts, fallback, first, last):
    """Returns {window: (MASE, sMAPE)} over the steps first to last, counted from 1."""
    out = {}
    for key, s in scales.items():
        made = forecasts.get(key) or fallback[key]
        absolute = symmetric = n = 0
        for (_, y), f in list(zip(windows[key]["actual"], made))[first - 1 : last]:
            if math.isnan(y):
                continue
            n += 1
            absolute += abs(y - f)
            if abs(y) + abs(f) > 0:
                symmetric += 200 * abs(y - f) / (abs(y) + abs(f))
        if n:
            out[key] = (absolute / n / s, symmetric / n)
    return out


def columns(windows, own, seasonal, last, second):
    """Returns the columns of one model from the errors of it and of those it is compared with."""
    mean = lambda values: sum(values) / len(values)
    mase, smape = mean([e[0] for e in own.values()]), mean([e[1] for e in own.values()])
    ratio = lambda other: [(own[k][0] + RATIO_FLOOR) / (other[k][0] + RATIO_FLOOR) for k in own]
    geometric = lambda values: math.exp(mean([math.log(v) for v in values]))
    relative = ratio(seasonal)
    ours, theirs = defaultdict(float), defaultdict(float)  # by series, over all of its windows
    for k in own:
        ours[windows[k]["series"]] += own[k][0] + RATIO_FLOOR
        theirs[windows[k]["series"]] += seasonal[k][0] + RATIO_FLOOR
    by_series = [ours[s] / theirs[s] for s in ours]
    return {
        "mase": mase,
        "smape": smape,
        "owa": (mase / mean([second[k][0] for k in own]) + smape / mean([second[k][1] for k in own])) / 2,
        "relMAE": geometric(relative),
        "relLast": geometric(ratio(last)),
        "worsePercent": 100 * mean([v > 1.05 for v in by_series]),
        "worst": max(by_series),
        "wins": 100 * mean([v < 1 for v in relative]),
    }


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def neural_prophet(history, steps, freq):
    """Fits the original's model to one history and returns its forecast."""
    import pandas as pd
    from neuralprophet import NeuralProphet, set_random_seed

    set_random_seed(0)  # anew for each, so that a call that goes on answers as one that was never ended
    df = pd.DataFrame({"ds": pd.to_datetime([t for t, _ in history]).tz_localize(None), "y": [v for _, v in history]})
    model = NeuralProphet()
    model.fit(df, freq=freq, progress=None)
    future = model.make_future_dataframe(df, periods=steps)
    return [max(0.0, float(v)) for v in model.predict(future)["yhat1"].to_numpy(dtype=float)[-steps:]]


def run_neural_prophet(windows, path, freq, limit):
    """Forecasts every window that the file at path does not hold yet. Returns {window: [median]} and {window: CPU seconds}."""
    made, took = defaultdict(list), {}
    if path.exists():
        with open(path, newline="") as f:
            for row in csv.DictReader(f):
                took[row["window"]] = float(row["cpuSeconds"])
                if row["median"]:
                    made[row["window"]].append(float(row["median"]))
    else:
        path.write_text("window,time,median,cpuSeconds\n")
    for done, (key, w) in enumerate(list(windows.items())[: limit or None]):
        if key in took:
            continue
        began = cpu_seconds()
        try:
            values = neural_prophet(w["history"], len(w["actual"]), freq)
        except Exception as e:  # one window that it cannot fit must not cost the others
            print(f"window {key} ({w['series']}): {type(e).__name__}: {e}", file=sys.stderr)
            values = []
        took[key], made[key] = cpu_seconds() - began, values
        with open(path, "a", newline="") as f:
            out = csv.writer(f)
            for (at, _), v in zip(w["actual"], values or [""] * len(w["actual"])):
                out.writerow([key, at, v, f"{took[key]:.3f}"])
        print(f"{done + 1} of {len(windows)}: {w['series']} took {took[key]:.1f} s of CPU time", file=sys.stderr, flush=True)
    return made, took


def check(name, own, reported):
    """Stops where a row that was computed here is not what the report says."""
    for column in ("mase", "smape", "owa", "relMAE", "worsePercent", "worst"):
        if reported.get(column) is None or math.isclose(own[column], reported[column], rel_tol=1e-6, abs_tol=1e-9):
            continue
        sys.exit(f"compare.py: {column} of {name} is {own[column]} here, but {reported[column]} in the report: the two measure differently")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dir", type=pathlib.Path, help="folder that selfscale backtest --export wrote")
    p.add_argument("--limit", type=int, default=0, help="how many windows to run NeuralProphet on (0: all); the table is of these")
    p.add_argument("--check", action="store_true", help="only see to it that both sides measure alike; needs no NeuralProphet")
    p.add_argument("--format", choices=("table", "json"), default="table")
    args = p.parse_args()

    windows = read_windows(args.dir / "windows.csv")
    models = read_forecasts(args.dir / "forecasts.csv")
    settings = json.loads((args.dir / "report.json").read_text())
    reported = {m["name"]: m for m in settings["report"]["models"]}
    season, horizon = settings["season"], settings["horizon"]
    scales = measured(windows, season)
    fallback = {k: models["naive"][k] for k in scales}
    bands = {label: tuple(int(s) for s in label.split("-")) for label in next(iter(reported.values()))["bands"]}
    bands = dict(sorted(bands.items(), key=lambda band: band[1]))

    def judge(forecasts, within, first, last):
        of = lambda f: errors(windows, within, f, fallback, first, last)
        return columns(windows, of(forecasts), of(models["seasonal-naive"]), of(models["naive"]), of(models["naive2"]))

    models = {name: models[name] for name in reported}  # one without any answer has no lines
    for name in models:
        check(name, judge(models[name], scales, 1, horizon), reported[name])
        for label, steps in bands.items():
            check(f"{name}, steps {label}", judge(models[name], scales, *steps), reported[name]["bands"][label])
    if args.check:
        print(f"{len(models)} models on {len(scales)} windows measure alike")
        return

    warnings.filterwarnings("ignore")
    logging.disable(logging.ERROR)
    os.environ["TQDM_DISABLE"] = "1"
    import neuralprophet
    import torch

    torch.set_num_threads(1)  # CPU seconds, not the number of cores, are compared
    os.chdir(args.dir.resolve())  # it writes logs into the working folder
    made, took = run_neural_prophet(windows, pathlib.Path("neuralprophet.csv"), f"{settings['stepSeconds']}s", args.limit)
    within = {k: s for k, s in scales.items() if k in took}
    models[NEURAL_PROPHET] = made

    out = []
    for name, forecasts in models.items():
        row = {"model": name, **judge(forecasts, within, 1, horizon)}
        row["bands"] = {label: judge(forecasts, within, *steps) for label, steps in bands.items()}
        if name == NEURAL_PROPHET:
            row["cpuSecondsPerSeries"] = sum(took.values()) / len(took)
        else:
            r = reported[name]
            row["cpuSecondsPerSeries"] = ((r["trainMillisPerSeries"] or 0) + (r["predictMillisPerSeries"] or 0)) / 1000
        out.append(row)
    versions = {"neuralprophet": neuralprophet.__version__, "torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()}
    date = time.strftime("%Y-%m-%d", time.gmtime())
    if args.format == "json":
        json.dump({"models": out, "windows": len(within), "versions": versions, "date": date}, sys.stdout, indent=2)
        print()
        return
    print(f"| model | MASE | sMAPE | OWA | relMAE | wins | worse % | worst | relMAE {' | '.join(bands)} | CPU s per series |")
    print("|---" * (9 + len(bands)) + "|")
    for r in out:
        near = " | ".join(f"{r['bands'][b]['relMAE']:.3f}" for b in bands)
        print(
            f"| {r['model']} | {r['mase']:.3f} | {r['smape']:.2f} | {r['owa']:.3f} | {r['relMAE']:.3f} | {r['wins']:.0f} % |"
            f" {r['worsePercent']:.1f} | {r['worst']:.2f} | {near} | {r['cpuSecondsPerSeries']:.4f} |"
        )
    print(f"\n{len(within)} windows, {date}, " + ", ".join(f"{k} {v}" for k, v in versions.items()))


if __name__ == "__main__":
    main()
