#!/usr/bin/env python3
"""A worker that survives any death: adds up the numbers of a file, line by line, and writes down the sum.

    rekindle-shim --agent adder -- examples/worker.py NUMBERS RESULT

It needs no library: what it has done is in the file that REKINDLE_STATE_FILE names, and its next life, on this host
or on another one, finds it there. The sum and the place in the file are saved together, so that no line counts twice.
"""

import json
import os
import sys
import time

STATE = os.environ["REKINDLE_STATE_FILE"]


def load():
    """What an earlier life has saved; nothing, where there was none."""
    try:
        with open(STATE, encoding="utf-8") as file:
            return json.load(file)["values"]
    except (FileNotFoundError, KeyError):
        return {}


def save(closed=False, **values):
    """Saves as a whole or not at all: rename(2) replaces the file at once."""
    state = {"task_id": "sum", "stage": values["line"], "values": values, "closed": closed}
    with open(STATE + ".new", "w", encoding="utf-8") as file:
        json.dump(state, file)
    os.replace(STATE + ".new", STATE)


def main(numbers, result):
    values = load()
    line, total = int(values.get("line", 0)), int(values.get("total", 0))
    if line:
        print(f"goes on after line {line}, with {total}", file=sys.stderr)
    with open(numbers, encoding="utf-8") as file:
        lines = file.read().split()
    with open(result + ".log", "a", buffering=1, encoding="utf-8") as log:
        for number in lines[line:]:
            print(f"begins {line + 1}", file=log)
            time.sleep(float(os.environ.get("PACE", "0")))  # a step that takes its time
            line, total = line + 1, total + int(number)
            save(line=str(line), total=str(total))
            print(f"ends {line}", file=log)
    with open(result + ".new", "w", encoding="utf-8") as file:
        print(total, file=file)
    os.replace(result + ".new", result)
    save(closed=True, line=str(line), total=str(total))
    print(f"the sum of {line} numbers is {total}", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
