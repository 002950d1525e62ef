"""`digidouble bench`: measure doubles with judges that the product never uses (extra `[bench]`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from digidouble.app.command import Root, command
from digidouble.app.show import Show
from digidouble.errors import SettingsError
from digidouble.weights import set_offline

if TYPE_CHECKING:
    from digidouble.bench.material import Clip, Pair
    from digidouble.bench.protocol import Protocol
    from digidouble.bench.report import BenchReport

NAMES = (
    "identity", "sources", "expression", "pose", "gaze", "flicker", "creases", "follow", "occlusion", "lighting", "multitrack",
    "persona", "emotion", "roundtrip", "speech", "speed",
)  # fmt: skip
# Protocols for which rows are watched by all judges at once: asked for one by one, they share what was seen.
JUDGED = {"identity", "sources", "expression", "pose", "gaze", "flicker", "multitrack"}
QUESTIONS = {
    "all": "Everything below, one after the other.",
    "identity": "Who is the output taken for?",
    "sources": "Is a person who gave more pictures recognised more often?",
    "expression": "Does the output do what the plate does?",
    "pose": "Does the head stay where the plate's is?",
    "gaze": "Does the output look where the plate looks?",
    "flicker": "Is the output as steady as the plate?",
    "creases": "Do wrinkles come and go where the plate's do?",
    "follow": "Does every clip's double move as the plate does? (The product's own tracker anew: no independent judge.)",
    "occlusion": "Do hands, hair, glasses and things stay in front of the double?",
    "lighting": "Does the double take the plate's light?",
    "multitrack": "What do three faces cost in one pass, and does each win?",
    "persona": "Is the persona the person, without help from the plate?",
    "emotion": "Are written emotions recognised by what real people's faces do?",
    "roundtrip": "What is lost when a swap is swapped back?",
    "speech": "Does a spoken mouth move as the speaker's own did, to the same sound?",
    "speed": "How fast is the whole program, and how do peers do on this machine?",
}
QUICK_FRAMES, QUICK_PAIRS = 40, 2

Clips = Annotated[
    list[Path], typer.Option("--clips", metavar="DIR|FILE", help="Movies, or folders of movies; may be repeated.")
]
Json = Annotated[
    Path, typer.Option("--json", metavar="FILE", help="Report to write; a contact sheet and all that was measured so far lie beside it.")
]  # fmt: skip
Quick = Annotated[bool, typer.Option("--quick", help="Few, short clips: under five minutes on two idle cores.")]
PairOption = Annotated[
    list[str] | None,
    typer.Option("--pair", metavar="PERSONA:PLATE", help="Measure these pairs of clip names only; may be repeated."),
]
Frames = Annotated[int, typer.Option("--frames", min=24, max=2000, help="Longest excerpt of a plate.")]
Threads = Annotated[
    int, typer.Option("--threads", min=0, max=256, help="Workers and threads; 0 takes the machine's cores.")
]


def add_to(app: typer.Typer) -> None:
    """Register the group."""
    group = typer.Typer(no_args_is_help=True, help=f"{__doc__} Protocols and tables: docs/bench.md.")
    for name in ("all", *NAMES):
        _register(group, name)
    example = "Example: digidouble bench compare before.json after.json"
    command(group, "compare", epilog=example)(compare)
    app.add_typer(group, name="bench")


def _register(group: typer.Typer, name: str) -> None:
    def measure(
        context: typer.Context,
        clips: Clips,
        report: Json = Path("bench.json"),
        quick: Quick = False,
        pair: PairOption = None,
        frames: Frames = 150,
        threads: Threads = 0,
        offline: Annotated[
            bool, typer.Option("--offline", help="Never touch the network; say what is missing instead.")
        ] = False,
        debug: Annotated[bool, typer.Option("--debug", help="Show where in the program an error came from.")] = False,
    ) -> None:
        root = context.find_root().obj or Root()
        set_offline(True if offline or root.offline else None)
        show = Show(False, debug or root.debug)
        with show.failures():
            _run(show, NAMES if name == "all" else (name,), clips, report, quick, pair or [], frames, threads)

    measure.__doc__ = QUESTIONS[name]
    group.command(name, epilog=f"Example: digidouble bench {name} --clips ../shared/data --json out.json")(measure)


def _run(
    show: Show, names: tuple[str, ...], clips: list[Path], report: Path, quick: bool, pair: list[str], frames: int, threads: int
) -> None:  # fmt: skip
    from digidouble.bench import referees
    from digidouble.bench.material import choose_pairs, find_clips
    from digidouble.bench.protocol import Scope
    from digidouble.bench.runner import PROTOCOLS, run, work_folder
    from digidouble.bench.workshop import Workshop

    referees.fingerprints()  # a missing referee is said before hours of work, not after
    second = referees.second_network(show.say) if JUDGED & set(names) else None
    found = find_clips(clips)
    pairs = _named(pair, found) if pair else choose_pairs(found, QUICK_PAIRS if quick else None)
    shop = Workshop(work_folder(report), found, min(frames, QUICK_FRAMES) if quick else frames, show.say, second)
    scope = Scope(tuple(pairs), quick, threads or os.cpu_count() or 1)
    chosen = [p for p in PROTOCOLS if p.name in names]
    with show.progress("measuring", "items") as progress:
        result = run(chosen, shop, scope, report, progress)
    for p in chosen:
        _print(show, result, p)
    failed = {f"{name}, {item}": why for name, items in result.failures.items() for item, why in items.items()}
    for what, why in failed.items():
        show.warn(f"{what}: not measured. {why}")
    sheets = [(report.with_suffix(".png"), "contact sheet"), (report.with_suffix(".worst.png"), "worst cases")]
    show.done({}, f"{report}: report", *(f"{p}: {what}" for p, what in sheets if p.exists()))
    if failed:
        raise typer.Exit(1)


def _named(texts: list[str], clips: dict[str, Clip]) -> list[Pair]:
    from digidouble.bench.material import Pair

    out = []
    for text in texts:
        persona, colon, plate = text.partition(":")
        missing = [n for n in (persona, plate) if n not in clips]
        if not colon or missing:
            raise SettingsError(
                f"--pair {text}: expected PERSONA:PLATE, names of clips; there is no {', '.join(missing) or 'colon'}"
            )
        out.append(Pair(persona, plate))
    return out


def _print(show: Show, report: BenchReport, p: Protocol) -> None:
    from digidouble.bench.report import summary_table, worst_table

    heads, body = summary_table(report, p)
    count = len({r.item for r in report.records.get(p.name, ())})
    show.table(
        f"{p.name} ({count} item{'s' * (count != 1)}): {p.question}",
        heads,
        body,
        numbers=range(2 if heads[0] == "item" else 1, len(heads)),
    )
    if worst := worst_table(report, p):
        show.table(f"{p.name}, worst cases (severity: {p.severity})", *worst, numbers=(2,))


def compare(
    show: Show,
    before: Annotated[Path, typer.Argument(metavar="A.json", help="Report of the older run.")],
    after: Annotated[Path, typer.Argument(metavar="B.json", help="Report of the newer run.")],
    every: Annotated[bool, typer.Option("--every", help="List baselines and unclear changes too.")] = False,
) -> None:
    """Compare two reports, pair by pair, with bootstrap intervals of every change."""
    from digidouble.bench.report import compare as compared
    from digidouble.bench.report import read_report, text
    from digidouble.bench.runner import PROTOCOLS

    a, b = read_report(before), read_report(after)
    for name in ("machine", "clips", "referees", "settings", "definitions"):
        if a.facts.get(name) != b.facts.get(name) and name != "machine":
            show.warn(f"the two reports differ in {name}; numbers are compared where items agree")
    changes = compared(a, b, PROTOCOLS)
    if not changes:
        raise SettingsError(f"{before} and {after} have no item in common, so there is nothing to compare")
    rows = [
        (c.protocol, c.row, c.number, text(c.before), f"{c.change.mean:+.4f}", f"{c.change.low:+.4f} .. {c.change.high:+.4f}", str(c.change.count), c.verdict)
        for c in changes
        if every or c.verdict
    ]  # fmt: skip
    if rows:
        heads = ("protocol", "row", "number", "before", "change", "95 % interval", "items", "verdict")
        show.table("Changes", heads, rows, numbers=(3, 4, 5, 6))
    record = {
        "changes": [
            {"protocol": c.protocol, "row": c.row, "number": c.number, "before": c.before, "verdict": c.verdict, **vars(c.change)}
            for c in changes
        ]
    }  # fmt: skip
    clear = sum(bool(c.verdict) for c in changes)
    show.done(record, f"{clear} clear change(s) among {len(changes)} numbers")
