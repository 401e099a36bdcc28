"""Reads a pickle that holds nothing but texts, numbers, lists and dicts, without unpickling it.

MSVD's captions are published as `raw-captions.pkl`. A pickle is a program, and `pickle.load` runs it. Here only its
instructions are listed (`pickletools.genops` does not execute) and the few that build plain containers are followed;
any other, such as one that names a class or calls a function, is refused.
"""

import pickletools
from pathlib import Path

LITERALS = frozenset(
    [
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT", "STRING", "BINSTRING"),
        *("SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    ]
)
CONSTANTS = {"NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False}
CONTAINERS = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
MARK = object()


def read_plain_pickle(path: str | Path):
    """The object in the file.

    Raises:
        ValueError: for a pickle that holds anything but plain data, or a file that is no pickle.
    """
    stack, memo = [], {}
    try:
        for opcode, argument, _ in pickletools.genops(Path(path).read_bytes()):
            if opcode.name == "STOP":
                return stack.pop()
            _follow(opcode.name, argument, stack, memo)
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    raise ValueError(f"{path} is damaged: it does not end")


def _follow(name: str, argument, stack: list, memo: dict) -> None:
    if name in ("PROTO", "FRAME"):
        return
    if name in LITERALS:
        stack.append(argument)
    elif name in CONSTANTS or name in CONTAINERS:
        stack.append((CONSTANTS | CONTAINERS)[name]())
    elif name == "MARK":
        stack.append(MARK)
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in PUTS:
        memo[argument] = stack[-1]
    elif name in GETS:
        stack.append(memo[argument])
    elif name in TUPLES:
        items = [stack.pop() for _ in range(TUPLES[name])]
        stack.append(tuple(reversed(items)))
    elif name in ("LIST", "TUPLE", "DICT"):
        items = _above_mark(stack)
        stack.append({"LIST": list, "TUPLE": tuple, "DICT": _pairs}[name](items))
    elif name in ("APPEND", "APPENDS"):
        items = [stack.pop()] if name == "APPEND" else _above_mark(stack)
        stack[-1].extend(items)
    elif name in ("SETITEM", "SETITEMS"):
        items = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else _above_mark(stack)
        stack[-1].update(_pairs(items))
    else:
        raise ValueError(f"not plain data: the pickle wants to run {name}, which could execute code; it is refused")


def _above_mark(stack: list) -> list:
    items = []
    while (item := stack.pop()) is not MARK:
        items.append(item)
    return items[::-1]


def _pairs(items: list) -> dict:
    return dict(zip(items[::2], items[1::2], strict=True))
