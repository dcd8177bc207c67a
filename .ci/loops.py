"""Fails if an inner loop of the matrix product's tiles reads or writes the stack.

A value that does not fit into the registers lies there, and the loop then waits for memory that nobody asked for.

python .ci/loops.py gemm.cpp.o ...
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

Body = list[tuple[int, str]]  # addresses and instructions of a function


def functions(path: str) -> Iterator[tuple[str, Body]]:
    listing = subprocess.run(
        ["objdump", "-dC", "--no-show-raw-insn", path], capture_output=True, text=True, check=True
    ).stdout
    name, body = "", Body()
    for line in listing.splitlines():
        if start := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            yield name, body
            name, body = start[1], []
        elif instruction := re.match(r"\s+([0-9a-f]+):\s+(.*)$", line):
            body.append((int(instruction[1], 16), instruction[2]))
    yield name, body


def inner_loops(body: Body) -> Iterator[list[str]]:
    """What stands between a jump and where it jumps back to, without another such jump inside."""
    index = {address: i for i, (address, _) in enumerate(body)}
    loops = []
    for i, (_, text) in enumerate(body):
        jump = re.match(r"j[a-z]+\s+([0-9a-f]+)\b", text)
        first = index.get(int(jump[1], 16)) if jump else None
        if first is not None and first <= i:
            loops.append((first, i))
    for first, last in loops:
        inside = [loop for loop in loops if first <= loop[0] and loop[1] <= last]
        if inside == [(first, last)]:
            yield [text for _, text in body[first : last + 1]]


def main(paths: list[str]) -> None:
    failed = False
    for path in paths:
        most = 0
        for name, body in functions(path):
            if not re.search(r"\btiles<", name):
                continue
            for loop in inner_loops(body):
                products = sum("vfmadd" in text for text in loop)
                most = max(most, products)
                for text in loop if products else []:
                    if re.search(r"\(%r[sb]p", text):
                        print(f"{path}: {name}: {text}")
                        failed = True
        print(f"{path}: {most} multiply-adds in the largest inner loop of a tile")
        failed |= most < 12  # the tile of 6 x 2 vectors: found nothing, looked at nothing
    if failed or not paths:
        sys.exit("expected inner loops that touch no stack")


if __name__ == "__main__":
    main(sys.argv[1:])
