"""All speed tables in one command: runs the other benchmarks and writes benchmarks/RESULTS.md.

    python benchmarks/report.py                          # everything: about three hours on two quiet cores
    python benchmarks/report.py --only similarity search # renews these tables and keeps the others
    python benchmarks/report.py --quick --output /tmp/results.md

Each table stands under the command that printed it, with its date; machine and versions are at the top. Peers that
are not installed are left out of their tables by the benchmarks themselves.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).parent
# What is asked, the arguments that answer it, and those of a quick look.
SECTIONS = {
    "similarity": ("DMAE similarity and TPM-CL against bare products", ["similarity.py"], []),
    "encoding": ("Encoders", ["encoding.py"], ["--batch", "1", "--repeats", "1"]),
    "training": (
        "A training step and its share outside the towers",
        ["training_step.py", "--batch", "128", "--piece", "16", "--repeats", "1"],
        ["--batch", "4", "--piece", "2", "--frames", "2"],
    ),
    "memory": (
        "Memory of cached against uncached batches",
        ["training_step.py", "--memory", "--frames", "2"],
        ["--frames", "1"],
    ),
    "evaluation": ("Memory of a large evaluation", ["evaluation_memory.py"], []),
    "decode": ("Reading frames, beside peers", ["decode.py"], ["--repeats", "1"]),
    "streaming": (
        "Reading a whole film, beside peers",
        ["streaming.py", "--films", "10 min, 1080p", "60 min, 240p", "--repeats", "2"],
        None,
    ),
    "film_memory": ("Memory over the length of a film", ["streaming.py", "--memory", "1", "60"], None),
    "moments": ("The right moment of a film", ["moments.py", "demo/model"], None),
    "segments": ("Search among segments of long videos", ["segment_search.py"], ["--rows", "5000"]),
    "search": (
        "Search",
        ["search.py", "--sizes", "1000", "10000", "30000", "100000"],
        ["--sizes", "1000"],
    ),
    "million": (
        "Search among a million",
        ["search.py", "--sizes", "1000000", "--dtype", "int8", "--queries", "20"],
        None,
    ),
    "rivals": (
        "Search beside other engines",
        ["search.py", "--sizes", "100000", "--queries", "20", "--rivals"],
        None,
    ),
    "storage": (
        "What smaller storage costs",
        ["search.py", "--sizes", "30000", "--dtype", "float16", "int8", "--merge-above", "0.95"],
        ["--sizes", "1000"],
    ),
    "duplicates": (
        "Finding duplicates",
        ["duplicates.py", "--videos", "100000"],
        ["--videos", "2000"],
    ),
    "confidence": ("What an answer is worth, and this but not that", ["confidence.py", "demo/model"], None),
    "indexing": ("Indexing: decoding beside encoding", ["indexing.py"], []),
    "crashes": ("An index whose writer is killed", ["index_crashes.py"], ["--kills", "2"]),
    "space": ("The Space", ["space_load.py"], None),
    "ablation": ("Which part helps: the ablation", ["ablation.py"], None),
    "place": ("What a frame's embedding tells of a place", ["place_probe.py", "runs/ablation/towers"], None),
}
PACKAGES = ("torch", "transformers", "accelerate", "av", "lancedb", "gradio", "numpy")


def run(name: str, quick: bool, more: list[str]) -> str:
    """The section's text: title, command, what it printed."""
    title, command, fast = SECTIONS[name]
    command = [*command, *((fast or []) if quick else []), *more]
    began = time.monotonic()
    command[0] = f"{HERE.name}/{command[0]}"
    done = subprocess.run([sys.executable, *command], cwd=HERE.parent, capture_output=True, text=True)
    minutes = (time.monotonic() - began) / 60
    printed = done.stdout.strip()
    if done.returncode:
        printed += f"\nfailed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
    heading = f"{title}\n\n`{' '.join(['python', *command])}`, {date.today()}, {minutes:.1f} minutes"
    return f"{heading}\n\n```\n{printed}\n```\n"


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    return (
        f"# Results\n\nWritten by `python benchmarks/report.py`. {_processor()}, {os.cpu_count()} cores, "
        f"{memory:.0f} GB, {platform.system()}, Python {platform.python_version()}; {versions}.\n"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def kept(path: Path) -> dict[str, str]:
    """The sections of an earlier report, by title."""
    if not path.is_file():
        return {}
    sections = path.read_text(encoding="utf-8").split("\n## ")[1:]
    return {section.split("\n", 1)[0]: section for section in sections}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that all of it runs")
    parser.add_argument("--output", type=Path, default=HERE / "RESULTS.md")
    parser.add_argument("more", nargs="*", metavar="ARGUMENT", help="after --: further arguments of each benchmark")
    options = parser.parse_args()
    names = options.only or [name for name, (*_, fast) in SECTIONS.items() if not (options.quick and fast is None)]
    sections = kept(options.output)
    for name in names:
        text = run(name, options.quick, options.more)
        print(f"## {text}", flush=True)
        sections[SECTIONS[name][0]] = text
        # After each: a long report that is stopped keeps what it has.
        known = {title: sections[title] for title, *_ in SECTIONS.values() if title in sections}
        options.output.write_text("\n## ".join([machine(), *(known | sections).values()]), encoding="utf-8")


if __name__ == "__main__":
    main()
