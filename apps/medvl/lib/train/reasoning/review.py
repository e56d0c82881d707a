"""For a person to review a data set: a CSV to decide in and a page with pictures; and what was decided."""

import base64
import csv
import html
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lib.atomic import write_atomically
from lib.errors import InputError
from lib.train.reasoning.rows import REJECTED, Row, RowStore

SHEET, PAGE = "review.csv", "review.html"
KEEP, DROP = "keep", "drop"
_COLUMNS = (
    "id",
    "decision",
    "comment",
    "split",
    "modality",
    "condition",
    "writer",
    "question",
    "answer",
    "facts",
    "source",
    "licence",
)
_SHOWN = (
    "side",
    "parts",
    "density",
    "size",
    "volume_ml",
    "long_axis_mm",
    "short_axis_mm",
    "median_hu",
    "area_percent",
    "condition",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ENCODING = "utf-8-sig"
"""With the mark by which spreadsheets know UTF-8."""
_STYLE = """
body { font: 15px/1.45 sans-serif; margin: 1.5rem auto; max-width: 1100px; padding: 0 1rem; color: #222; }
article { display: grid; grid-template-columns: 330px 1fr; gap: 1rem; padding: 1rem 0; }
article { border-top: 1px solid #ccc; }
img, .none { width: 320px; background: #000; }
.none { height: 120px; color: #999; text-align: center; }
h2 { font-size: 1rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
p { margin: .25rem 0; }
ol { margin: .3rem 0; padding-left: 1.3rem; }
.tag { background: #eee; border-radius: 3px; padding: 0 .4rem; margin-right: .3rem; display: inline-block; }
.drop { background: #fdd; }
table { font-size: .85rem; color: #555; border-spacing: .6rem 0; margin-left: -.6rem; }
@media (max-width: 800px) { article { grid-template-columns: 1fr; } }
"""
_NOTICE = "Research use only, not a medical device. Made by a program: read it against the picture."


@dataclass(frozen=True)
class Decision:
    """What a person said of a row.

    Attributes:
        decision: keep, drop, or "" for nothing yet.
        comment: why.
    """

    decision: str
    comment: str


def read_decisions(path: Path) -> dict[str, Decision]:
    """What was decided in a review sheet, by row id; of any spreadsheet that writes CSV.

    Raises:
        InputError: no such sheet, columns are missing, or a decision is neither keep nor drop.
    """
    try:
        text = path.read_text(encoding=_ENCODING)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The review sheet {path.name} cannot be read; save it as CSV in UTF-8.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    if not {"id", "decision"} <= set(reader.fieldnames or ()):
        raise InputError(f"The review sheet {path.name} needs the columns id and decision.")
    found = {}
    for row in reader:
        decision = (row["decision"] or "").strip().lower()
        if decision not in (KEEP, DROP, ""):
            raise InputError(
                f"The review sheet says {decision!r} of {row['id']}; write {KEEP!r}, {DROP!r} or nothing."
            )
        found[row["id"]] = Decision(decision, (row.get("comment") or "").strip())
    return found


def apply_decisions(store: RowStore, decisions: Mapping[str, Decision]) -> int:
    """Moves what was dropped to the rejected rows.

    Returns:
        How many rows were dropped.
    """
    reasons = {
        row_id: f"review: {one.comment or 'dropped'}"
        for row_id, one in decisions.items()
        if one.decision == DROP
    }
    return store.drop(reasons)


def write_review(
    store: RowStore, pictures: Mapping[str, bytes], decisions: Mapping[str, Decision]
) -> tuple[Path, Path]:
    """Writes sheet and page anew; what was decided stays.

    Args:
        store: the rows.
        pictures: JPEG by row id.
        decisions: by row id.
    """
    rows = [row for split in store.splits() for row in store.rows(split)]
    rejected = store.rows(REJECTED)
    sheet, page = store.folder / SHEET, store.folder / PAGE
    write_atomically(sheet, _sheet(rows, decisions).encode(_ENCODING))
    write_atomically(page, _page(rows, rejected, pictures, decisions).encode())
    return sheet, page


def _sheet(rows: Iterable[Row], decisions: Mapping[str, Decision]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(_COLUMNS)
    for row in rows:
        said = decisions.get(row.id, Decision("", ""))
        facts = "; ".join(f"{name}: {value}" for name, value in _facts(row).items())
        cells = (row.id, said.decision, said.comment, row.split, row.facts["modality"], row.condition or "",
                 row.writer, row.question, row.answer, facts, row.source, row.licence)  # fmt: skip
        writer.writerow([_cell(cell) for cell in cells])
    return stream.getvalue()


def _cell(text: str) -> str:
    """A spreadsheet would run a text that begins like a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _delimiter(text: str) -> str:
    """What stands between the names of the columns: some countries' spreadsheets write semicolons."""
    head = text.split("\n", 1)[0]
    return max(",;\t", key=head.count)


def _facts(row: Row) -> dict[str, str]:
    """Those that a reviewer compares with the picture."""
    place = row.facts["location"]
    words = [*([place["within"]] if place["within"] else []), *place["places"]]
    shown = {"target": row.facts["target"], "place": ", ".join(words), "frame": place["frame"]}
    for name in _SHOWN:
        if row.facts.get(name) is not None:
            shown[name] = str(row.facts[name])
    return shown


def _page(
    rows: list[Row], rejected: list[Row], pictures: Mapping[str, bytes], decisions: Mapping[str, Decision]
) -> str:
    counts = (
        f"{len(rows)} rows, {len(rejected)} rejected. Decide in {SHEET}: {KEEP} or {DROP}, with a comment."
    )
    articles = "".join(_article(row, pictures.get(row.id), decisions.get(row.id)) for row in rows)
    reasons = "".join(f"<li><b>{_safe(row.id)}</b>: {_safe(row.reason)}</li>" for row in rejected)
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Review</title>"
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; img-src data:; "
        "style-src 'unsafe-inline'\">"
        f"<style>{_STYLE}</style><h1>Review</h1><p>{_NOTICE}</p><p>{counts}</p>{articles}"
        f"<h1>Rejected</h1><ul>{reasons or '<li>none</li>'}</ul></html>\n"
    )


def _article(row: Row, picture: bytes | None, decision: Decision | None) -> str:
    said = decision.decision if decision else ""
    tags = "".join(
        f"<span class=tag>{_safe(tag)}</span>"
        for tag in (
            row.split,
            row.facts["modality"],
            row.kind,
            f"writer: {row.writer}",
            *([said] if said else []),
        )
    )
    steps = "".join(f"<li><b>{_safe(step)}</b>: {_safe(text)}</li>" for step, text in row.steps.items())
    facts = "".join(f"<tr><td>{_safe(name)}<td>{_safe(value)}" for name, value in _facts(row).items())
    shown = (
        f"<img alt='outline of the {_safe(row.facts['target'])}' src='data:image/jpeg;base64,"
        f"{base64.b64encode(picture).decode()}'>"
        if picture
        else "<div class=none>no picture</div>"
    )
    return (
        f"<article class='{_safe(said)}'><div>{shown}<table>{facts}</table></div><div>"
        f"<h2>{_safe(row.id)}</h2><p>{tags}</p><p><b>{_safe(row.question)}</b></p><ol>{steps}</ol>"
        f"<p>{_safe(row.source)}; {_safe(row.licence)}</p></div></article>"
    )


def _safe(text: str) -> str:
    return html.escape(str(text), quote=True)
