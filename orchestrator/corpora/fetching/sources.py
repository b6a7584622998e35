"""Where the corpora that may be downloaded freely are to be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from orchestrator.corpora.fetching.download import Remote
from orchestrator.errors import CorpusError


@dataclass(frozen=True)
class Source:
    """Where a corpus comes from.

    Attributes:
        archive: the zip or tar that holds it.
        root_holds: the folder by which its root is known within the archive.
        leave: folders of the archive that are no part of what is read.
        nested: names of tar archives within the archive, unpacked in their place.
        others: files of the root that the archive may lack.
        large_files: URL below which those lie that the archive only points to (Git LFS).
        next_step: what is left to do before ``corpora check``, "" for nothing.
    """

    archive: Remote
    root_holds: str
    leave: tuple[str, ...] = ()
    nested: tuple[str, ...] = ()
    others: tuple[Remote, ...] = ()
    large_files: str = ""
    next_step: str = ""

    def at(self, mirror: str) -> Source:
        """The same from another server: ``mirror`` takes the place of scheme and host.

        Raises:
            CorpusError: it is no HTTP address.
        """
        parts = urlsplit(mirror)
        web = parts.scheme in ("http", "https") and parts.netloc
        if not web or parts.query or parts.fragment:
            raise CorpusError(
                f"--mirror {mirror!r} is no address to begin with, such as https://host/corpora"
            )

        def moved(url: str) -> str:
            return mirror.rstrip("/") + urlsplit(url).path if url else ""

        return replace(
            self,
            archive=replace(self.archive, url=moved(self.archive.url)),
            others=tuple(replace(other, url=moved(other.url)) for other in self.others),
            large_files=moved(self.large_files),
        )


_CREMA_D: Final = "CheyneyComputerScience/CREMA-D"
# One commit, so that everybody has the same files: the one that recent work on the corpus names.
_CREMA_D_COMMIT: Final = "1658cd342dff90010aa843eaeebd53610a08b1dc"
_FSDD: Final = "Jakobovski/free-spoken-digit-dataset"
# Version 1.0.10, the last one, by the commit that it names.
_FSDD_COMMIT: Final = "d6938f9bf1545aa66d8489fc9f1385a7abd64282"
_MELD_TABLES: Final = "https://raw.githubusercontent.com/declare-lab/MELD/master/data/MELD"

SOURCES: Final[Mapping[str, Source]] = {
    "crema-d": Source(
        # No published checksum: GitHub packs the archive on demand. Its audio has one a file.
        archive=Remote(f"https://codeload.github.com/{_CREMA_D}/tar.gz/{_CREMA_D_COMMIT}"),
        root_holds="AudioWAV",
        leave=("AudioMP3", "VideoFlash"),
        large_files=f"https://media.githubusercontent.com/media/{_CREMA_D}/{_CREMA_D_COMMIT}",
    ),
    "emodb": Source(
        # No published checksum.
        archive=Remote("http://emodb.bilderbar.info/download/download.zip"),
        root_holds="wav",
    ),
    "fsdd": Source(
        # No published checksum: GitHub packs the archive on demand.
        archive=Remote(f"https://codeload.github.com/{_FSDD}/tar.gz/{_FSDD_COMMIT}"),
        root_holds="recordings",
    ),
    "meld": Source(
        # No published checksum.
        archive=Remote("https://web.eecs.umich.edu/~mihalcea/downloads/MELD.Raw.tar.gz"),
        root_holds="train_splits",
        nested=("train.tar.gz", "dev.tar.gz", "test.tar.gz"),
        others=tuple(
            Remote(f"{_MELD_TABLES}/{split}_sent_emo.csv") for split in ("train", "dev", "test")
        ),
        next_step="the clips are mp4, and reading them needs PyAV: pip install 'understudy[video]'",
    ),
    "ravdess": Source(
        # Size and md5 are those of Zenodo's record 1188976, which loaders of RAVDESS repeat.
        archive=Remote(
            "https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip",
            size=208_468_073,
            md5="bc696df654c87fed845eb13823edef8a",
        ),
        root_holds="Actor_01",
    ),
}
"""By the kind of corpus."""
