# SPDX-License-Identifier: BSD-2-Clause
"""What benchmarks have in common that compare us with somebody else.

Virtual processors move between cores, and all figures move with the time that a cache line takes
from one to the other.  So that time is taken before and after each sample, and samples are compared
within one placement (near: less than 250 ns; far: more) only.
"""
import argparse
import json
import os
import statistics

BACK_END_CPU = 0
CLIENT_CPU = 1
SKIP = 77
NEAR_NS = 250


def placement(round_trips):
    """Of a sample, from what was measured before and after it; 0: could not be measured."""
    kinds = {"mixed" if not ns else "near" if ns < NEAR_NS else "far" for ns in round_trips}
    return kinds.pop() if len(kinds) == 1 else "mixed"


def measure(rounds, sides, sample):
    """Takes samples of each side in turn until there are enough of all in one placement.

    sample() takes a side, and returns a dict with its "placement".  Returns the placement and the
    samples by the names of the sides: all of them where there was no end to moving.
    """
    samples = {side.name: [] for side in sides}
    for count in range(3 * rounds):
        for side in sides:
            samples[side.name].append(sample(side))
        for kind in ("near", "far"):
            kept = {name: [s for s in of if s["placement"] == kind]
                    for name, of in samples.items()}
            if count + 1 >= rounds and min(map(len, kept.values())) >= rounds:
                return kind, kept
    return "mixed", samples


def medians(samples, keys):
    return {key: statistics.median(s[key] for s in samples) for key in keys}


def options(description):
    """The parser of a benchmark's options, with those that all have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--build", default=os.path.join(os.path.dirname(__file__), "../build"))
    parser.add_argument("--rounds", type=int, default=5, help="samples of each side (5)")
    parser.add_argument("--seconds", type=float, default=0.25, help="length of a sample (0.25)")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--json", metavar="FILE", help="write the medians there")
    return parser


def write(args, results):
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(results, f, indent=1)
