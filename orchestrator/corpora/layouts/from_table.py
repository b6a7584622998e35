"""Any corpus that a CSV or Parquet file describes, one row per utterance."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pandas as pd

from orchestrator.corpora.audio import FileSource
from orchestrator.corpora.layouts import cells
from orchestrator.corpora.layouts.folders import is_folder, is_there
from orchestrator.corpora.layouts.rows import row_name, row_per_line, rows_name
from orchestrator.corpora.listing import About, Listing, Problem, text_of, votes_text
from orchestrator.errors import CorpusError, nearest
from orchestrator.experiment.corpus import TableCorpus

ABOUT: Final = About(
    summary=(
        "your own: a CSV or Parquet file with a row per utterance (path, speaker, emotion, and "
        "whatever else is known)"
    ),
    licence="yours",
    obtain="docs/corpora.md says which columns it has",
)

# To the rest of the house these names mean something else than to whoever wrote the file.
_TAKEN: Final = ("content", "duration", "stated")
# Of a corpus whose emotions are not read.
_UNREAD: Final = ("emotion", "votes", "agreement", "split")


def list_table(section: TableCorpus) -> Listing:
    """The utterances of a table; a map can also read any other column of the file.

    Every value is read as text with the space around it removed, so ``03`` stays ``03``. Rows
    are numbered from 1, the header not counted; messages name the line too where each row is a
    line. Columns of the file called ``content``,
    ``duration`` or ``stated`` are found under the names ``file_content`` and so on. An unlabelled
    corpus needs no column but the paths, a transcribed one those, speakers and transcripts.

    Raises:
        CorpusError: the file or the root is missing or unreadable, a column is missing, there are
            no rows, or two rows share an id.
    """
    title = f"corpus {section.title!r}"
    emotions_read = section.role == "labelled"
    if not emotions_read:
        section = section.model_copy(
            update={"split_column": None, "agreement_column": None, "votes_columns": {}}
        )
    file = Path(section.file).expanduser().absolute()
    content, lined = _read(file, title=section.title)
    if not len(content):
        raise CorpusError(f"{title}: {file} has no rows; it needs one per utterance")
    root = file.parent if section.root is None else Path(section.root).expanduser().absolute()
    if not is_folder(root, title=section.title):
        raise CorpusError(
            f"{title}: root {section.root!r} is no folder; give the folder that the paths in "
            f"{file.name} start from"
        )

    def column(name: str, *, key: str) -> pd.Series[str]:
        if name not in content:
            raise CorpusError(
                f"{title}: {file} has no column {name!r} ({key}); "
                f"{nearest(name, content.columns)} Columns are separated by commas; name another "
                f"one with {key}."
            )
        return content[name]

    paths = column(section.path_column, key="path_column")
    table, remarks = _renamed(content, file=file)
    if not emotions_read:
        table = table.drop(columns=[name for name in _UNREAD if name in table]).assign(emotion="")
    table["path"] = [str(root / path) if path else "" for path in paths]
    # A column that a map makes need not be there.
    for target, name in (("speaker", section.speaker_column), ("emotion", section.emotion_column)):
        unread = target == "emotion" and not emotions_read
        unknown = section.role == "unlabelled" and name == target not in content
        if unread or unknown:
            table[target] = ""
        elif target not in section.columns:
            table[target] = column(name, key=f"{target}_column")
    optional = {
        "session": section.session_column,
        "id": section.id_column,
        "gender": section.gender_column,
        "dialogue": section.dialogue_column,
        "split": section.split_column,
        "text": section.text_column,
        "transcript": section.transcript_column,
        "agreement": section.agreement_column,
    }
    if section.role == "transcribed" and section.transcript_column is None:
        optional["transcript"] = "transcript"
    for target, given in optional.items():
        if given is not None:
            table[target] = column(given, key=f"{target}_column")
    if "session" not in table:
        table["session"] = ""
    if "id" not in table:
        table["id"] = paths
    if "text" not in table and "transcript" in table:
        table["text"] = [text_of(words) for words in table["transcript"]]
    votes = {
        emotion: column(name, key=f"votes_columns.{emotion}")
        for emotion, name in section.votes_columns.items()
    }

    problems = []
    usable = pd.Series(True, index=table.index)
    for needed in ("path", "id"):
        for number in table.index[usable & (table[needed] == "")]:
            usable[number] = False
            text = f"{file}, {row_name(number + 1, lined=lined)}: the {needed} is empty"
            problems.append(Problem(kind=f"no {needed}", text=text, id=table["id"][number]))
    table = table[usable]
    _refuse_duplicates(table["id"], place=f"{title}: {file}", lined=lined)
    table, strange = _understood(table, votes=votes, optional=optional, file=file, lined=lined)
    return Listing(
        table=table,
        source=FileSource(),
        place=str(file),
        problems=(*problems, *strange),
        remarks=remarks,
    )


def _renamed(content: pd.DataFrame, *, file: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """A copy in which no column passes for one that the house makes, and remarks on those."""
    names = {}
    for name in _TAKEN:
        if name in content:
            names[name] = f"file_{name}"
            while names[name] in content:
                names[name] = f"file_{names[name]}"
    remarks = tuple(
        f"{file}: the column {old!r} is found under the name {new!r}, since {old!r} is what the "
        "check of the audio finds"
        for old, new in names.items()
    )
    return content.rename(columns=names), remarks


def _understood(
    table: pd.DataFrame,
    *,
    votes: Mapping[str, pd.Series[str]],
    optional: Mapping[str, str | None],
    file: Path,
    lined: bool,
) -> tuple[pd.DataFrame, list[Problem]]:
    """The rows of which every cell makes sense, in our words; and one problem for each other.

    Args:
        votes: by emotion, the column that counts its votes.
        optional: from our columns to the names that the section gives for them.
        file: for messages.
        lined: whether each row is a line of the file.
    """
    checked = cells.Cells(table["id"], file=file, lined=lined)

    def named(target: str) -> str:
        return optional.get(target) or target

    if "gender" in table:
        wanted = "female or male"
        told = checked.values(
            table["gender"], cells.gender, otherwise="", column=named("gender"), wanted=wanted
        )
        table = table.assign(gender=told)
    # As with sessions, either every utterance has one or none has.
    if "split" in table and (table["split"] != "").any():
        wanted = "train, validation or test"
        told = checked.values(
            table["split"], cells.split, otherwise="", column=named("split"), wanted=wanted
        )
        table = table.assign(split=told)
    if "agreement" in table:
        wanted = "a number in [0, 1]"
        shares = checked.values(
            table["agreement"], cells.share, otherwise=0.0, column=named("agreement"), wanted=wanted
        )
        table = table.assign(agreement=pd.Series(shares, index=table.index, dtype="float64"))
    if votes:
        wanted = "a number of votes"
        counts = [
            checked.values(
                column[table.index],
                cells.count,
                otherwise=0.0,
                column=str(column.name),
                wanted=wanted,
            )
            for column in votes.values()
        ]
        told = [votes_text(dict(zip(votes, row, strict=True))) for row in zip(*counts, strict=True)]
        table = table.assign(votes=told)
    elif "votes" in table:
        wanted = 'votes by emotion such as {"anger": 2, "fear": 1}; name columns in votes_columns'
        told = checked.values(
            table["votes"], cells.votes, otherwise="", column="votes", wanted=wanted
        )
        table = table.assign(votes=told)
    kept = table[~table.index.isin(checked.problems)]
    return kept, [checked.problems[row] for row in sorted(checked.problems)]


def _read(file: Path, *, title: str) -> tuple[pd.DataFrame, bool]:
    """The file's content as text, "" where a cell is empty, and whether each row is a line."""
    there = is_there(file, title=title)
    title = f"corpus {title!r}"
    if not there:
        raise CorpusError(f"{title}: file {str(file)!r} is no file; give a .csv or .parquet file")
    suffix = file.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise CorpusError(
            f"{title}: file {str(file)!r} ends in {suffix!r}; give a .csv or .parquet file"
        )
    try:
        if suffix == ".csv":
            with warnings.catch_warnings():
                # pandas only warns when a row has more cells than the header, and drops them.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                content = pd.read_csv(
                    file, dtype="str", keep_default_na=False, index_col=False, encoding="utf-8-sig"
                )
        else:
            # Nullable types: a missing value must not turn whole numbers into fractions.
            content = pd.read_parquet(file, dtype_backend="numpy_nullable").reset_index(drop=True)
        lined = suffix == ".csv" and row_per_line(file.read_bytes(), rows=len(content))
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{title}: {file} cannot be read as {suffix[1:]} ({error}); save it as UTF-8"
        ) from error
    except PermissionError as error:
        raise CorpusError(
            f"{title}: {file} cannot be read ({error.strerror or error}); change its permissions"
        ) from error
    except (ValueError, OSError, pd.errors.ParserWarning) as error:
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise CorpusError(
            f"{title}: {file} cannot be read as {suffix[1:]} ({reason}); "
            "give a table with a header and as many cells in each row"
        ) from error
    names = [str(name).strip() for name in content.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CorpusError(f"{title}: {file} has two columns called {twice[0]!r}; rename one")
    content.columns = pd.Index(names)
    text = {name: content[name].astype("str").fillna("").str.strip() for name in content.columns}
    return pd.DataFrame(text, index=content.index, dtype="str"), lined


def _refuse_duplicates(ids: pd.Series[str], *, place: str, lined: bool) -> None:
    """Raise naming the first id that several rows share, and the rows."""
    again = ids[ids.duplicated(keep=False)]
    if len(again):
        first, others = again.iloc[0], again.nunique() - 1
        rows = [number + 1 for number in again.index[again == first]]
        raise CorpusError(
            f"{place}: {rows_name(rows[:5], lined=lined)} have the same id {first!r}"
            + (f" (as do rows of {others} more ids)" if others else "")
            + "; give each row its own id, "
            "or name the column that holds it with id_column"
        )
