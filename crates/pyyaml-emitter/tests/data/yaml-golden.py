"""Writes yaml-golden.jsonl: values and what PyYAML makes of them.

    python3 yaml-golden.py 400 1 > yaml-golden.jsonl

The first argument is the number of random cases after the chosen ones, the second the seed.
"""

import json
import random
import sys

import yaml

PIECES = [
    " ", "  ", "\n", "\n\n", "\t", ":", ": ", " #", "#", "-", "- ", "?", "? ", "'", '"', "\\", "%",
    "@", "`", "!", "&", "*", "|", ">", "[", "]", "{", "}", ",", "...", "---", "~", "null", "true",
    "No", "on", "0", "1", "60", "1:30", "0x1f", "0b1", "017", "08", "1_000", "1.5", "1e5", "1.5e+3",
    ".5", ".inf", "-.INF", ".nan", "+1", "-1", "2026-11-21", "2026-1-2", "T", "23:40:21", ".397282",
    "Z", "+1:30", "=", "<<", "host", "10.0.0.1", "word", "a longer run of words", "x" * 30,
    "\u00e9", "\u20ac", "\U0001f600", "\x00", "\x07", "\x1b", "\x7f", "\x85", "\xa0", "\u2028", "\ufeff",
]
CHOSEN = [
    None, True, False, 0, -7, 975145497004847.25, 18446744073709551615, 1.0, 0.1, -2.5, 1e16, 1e15, 1.5e-7, 1e-5, 1e-4,
    123456789012345680.0, 1e300, 5e-324, [], {}, [[]], [{}], {"a": []}, {"a": {}}, [[1, [2, [3]]]],
    {"a": [{"b": [1, {"c": 2}]}]}, "", {"": 1}, {"a" * 122: 1}, {"a" * 123: 1}, {"a\nb": [1]},
    {"true": 1, "null": 2, "1": 3, "b c": 4, "d: e": 5}, {"b": 1, "B": 2, "a": 3, "\u00e9": 4},
    {"a\nb": {"c": "d"}}, {"x": {"a" * 130: {"y": ["z"]}}}, "2026-11-21T23:40:21.397282",
    {"t": "2026-11-21 23:40:21.397282 +01:00"}, ["word " * 40], {"k": "word " * 40},
    {"k": "it's " * 40}, {"k": "\u00e9t\u00e9 " * 40}, {"k": "a\n b"}, {"k": "a\nb\n"}, {"k": " a"},
    {"k": "x" * 200}, {"k": "\x1b" * 60}, {"k": ("x" * 79) + "  y  z"}, {"k": "'" * 90 + " a b"},
    {"word " * 20: 1}, ["ssh-ed25519 " + "A" * 68 + " root@host with a comment"],
]


def text(rng):
    if rng.random() < 0.3:
        return "".join(rng.choice("0123456789:._-+eTZ ") for _ in range(rng.randint(1, 12)))
    count = rng.choice([1, 1, 1, 2, 2, 3, 5, 12, 40])
    return "".join(rng.choice(PIECES) for _ in range(count))


def value(rng, depth=0):
    kind = rng.random()
    if depth < 4 and kind < 0.2:
        return [value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    if depth < 4 and kind < 0.45:
        return {text(rng): value(rng, depth + 1) for _ in range(rng.randint(0, 3))}
    if kind < 0.5:
        return rng.choice([None, True, False, rng.randint(-10**6, 10**6)])
    if kind < 0.55:
        return rng.uniform(-1, 1) * 10 ** rng.randint(-20, 20)
    return text(rng)


def main():
    rng = random.Random(int(sys.argv[2]))
    cases = CHOSEN + [value(rng) for _ in range(int(sys.argv[1]))]
    for case in cases:
        case = json.loads(json.dumps(case))
        dumped = yaml.safe_dump(case, default_flow_style=False)
        print(json.dumps({"value": case, "yaml": dumped}))


main()
