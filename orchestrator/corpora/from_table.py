"""Any corpus that a CSV or Parquet file describes, one row per utterance."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd

from orchestrator.corpora.audio import FileSource
from orchestrator.corpora.listing import Listing, Problem
from orchestrator.errors import CorpusError, nearest
from orchestrator.experiment.corpus import TableCorpus


def list_table(section: TableCorpus) -> Listing:
    """The utterances of a table; a map can also read any other column of the file.

    Every value is read as text with the space around it removed, so ``03`` stays ``03``. Rows
    are numbered from 1, the header not counted.

    Raises:
        CorpusError: the file or the root is missing or unreadable, a column is missing, there are
            no rows, or two rows share an id.
    """
    title = f"corpus {section.title!r}"
    file = Path(section.file).expanduser().absolute()
    content = _read(file, title=title)
    if not len(content):
        raise CorpusError(f"{title}: {file} has no rows; it needs one per utterance")
    root = file.parent if section.root is None else Path(section.root).expanduser().absolute()
    if not root.is_dir():
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

    table = content.copy()
    paths = column(section.path_column, key="path_column")
    table["path"] = [str(root / path) if path else "" for path in paths]
    # A column that a map makes need not be there.
    for target, name in (("speaker", section.speaker_column), ("emotion", section.emotion_column)):
        if target not in section.columns:
            table[target] = column(name, key=f"{target}_column")
    if section.session_column is not None:
        table["session"] = column(section.session_column, key="session_column")
    elif "session" not in table:
        table["session"] = ""
    if section.id_column is not None:
        table["id"] = column(section.id_column, key="id_column")
    elif "id" not in table:
        table["id"] = paths

    problems = []
    usable = pd.Series(True, index=table.index)
    for needed in ("path", "id"):
        for number in table.index[usable & (table[needed] == "")]:
            usable[number] = False
            text = f"{file}, row {number + 1}: the {needed} is empty"
            problems.append(Problem(kind=f"no {needed}", text=text))
    table = table[usable]
    _refuse_duplicates(table["id"], place=f"{title}: {file}")
    return Listing(table=table, source=FileSource(), place=str(file), problems=tuple(problems))


def _read(file: Path, *, title: str) -> pd.DataFrame:
    """The file's content as text, "" where a cell is empty."""
    if not file.is_file():
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
    return pd.DataFrame(text, index=content.index, dtype="str")


def _refuse_duplicates(ids: pd.Series[str], *, place: str) -> None:
    """Raise naming the first id that several rows share, and the rows."""
    again = ids[ids.duplicated(keep=False)]
    if len(again):
        first, others = again.iloc[0], again.nunique() - 1
        rows = [str(number + 1) for number in again.index[again == first]]
        raise CorpusError(
            f"{place}: rows {', '.join(rows[:5])} have the same id {first!r}"
            + (f" (as do rows of {others} more ids)" if others else "")
            + "; give each row its own id, "
            "or name the column that holds it with id_column"
        )
