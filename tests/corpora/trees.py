"""Whole corpora in the layouts they are distributed in, with the documented counts.

Every builder takes ``audio``: whether files hold 0.15 s of noise, each its own, or nothing. Empty
files are enough for what a layout tells.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

RATE = 16000
SAMPLES = 2400

SAVEE_LETTERS = ("a", "d", "f", "h", "n", "sa", "su")
CREMA_D_SENTENCES = (
    *("IEO", "TIE", "IOM", "IWW", "TAI", "MTI"),
    *("IWL", "ITH", "DFA", "ITS", "TSI", "WSI"),
)
CREMA_D_CODES = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
CREMA_D_HEADER = '"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"\n'
EMODB_LETTERS = "WLEAFNT"
EMODB_TEXTS = ("a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10")
# Of anger, boredom, disgust, fear, happiness, neutral, sadness, in the real corpus.
EMODB_COUNTS = {
    "03": (14, 5, 1, 4, 7, 11, 7),
    "08": (12, 10, 0, 6, 11, 10, 9),
    "09": (13, 4, 8, 1, 4, 9, 4),
    "10": (10, 8, 1, 8, 4, 4, 3),
    "11": (11, 8, 2, 10, 8, 9, 7),
    "12": (12, 5, 2, 6, 2, 4, 4),
    "13": (12, 10, 8, 7, 10, 9, 5),
    "14": (16, 8, 8, 12, 8, 7, 10),
    "15": (13, 9, 5, 8, 6, 11, 4),
    "16": (14, 14, 11, 7, 11, 5, 9),
}


def noise(seed: int) -> bytes:
    """A WAV file of noise that no other seed gives."""
    draw = np.random.Generator(np.random.Philox(seed))
    samples = draw.integers(-8000, 8000, SAMPLES, dtype="<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    data = struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI4s", b"RIFF", 4 + len(form) + len(data), b"WAVE") + form + data


def put(root: Path, names: Iterable[str], *, audio: bool) -> Path:
    """Files of these names, relative to ``root``, which is returned."""
    made: set[Path] = set()
    for seed, name in enumerate(names):
        file = root / name
        if file.parent not in made:
            file.parent.mkdir(parents=True, exist_ok=True)
            made.add(file.parent)
        file.write_bytes(noise(seed) if audio else b"")
    return root


def savee(root: Path, *, flat: str | None = None, audio: bool = False) -> Path:
    """480 files ``AudioData/DC/a01.wav``; or ``DC_a01.wav`` in the folder ``flat`` of the root."""
    codes = [
        f"{letter}{number:02}"
        for letter in SAVEE_LETTERS
        for number in range(1, 31 if letter == "n" else 16)
    ]
    names = [
        f"AudioData/{speaker}/{code}.wav" if flat is None else f"{flat}/{speaker}_{code}.wav"
        for speaker in ("DC", "JE", "JK", "KL")
        for code in codes
    ]
    put(root, names, audio=audio)
    if flat is None:
        (root / "AudioData" / "Info.txt").write_text("about the recordings\n")
    return root


def crema_d_names() -> list[str]:
    """The 7442 names: 82 clips of each of 91 actors, less 20.

    Three of each emotion and five neutral ones are missing in the real corpus; which ones they
    are is made up here.
    """
    missing = {f"{actor}_DFA_{code}_XX" for actor in (1001, 1002, 1003) for code in CREMA_D_CODES}
    missing |= {f"{actor}_DFA_NEU_XX" for actor in (1004, 1005)}
    names = [
        f"{actor}_{sentence}_{code}_{level}"
        for actor in range(1001, 1092)
        for sentence in CREMA_D_SENTENCES
        for code in CREMA_D_CODES
        for level in (("LO", "MD", "HI") if sentence == "IEO" and code != "NEU" else ("XX",))
    ]
    return [name for name in names if name not in missing]


def crema_d_votes(names: Iterable[str]) -> str:
    """A table of votes in the real shape, with three rows for each name.

    Of ten who hear the voice, ``place % 11`` choose the emotion asked for and the others the next
    one in the header. All of nine who see the face choose it, and of seven who have both none.
    """
    rows = [CREMA_D_HEADER]
    letters = "ADFHNS"
    every = list(names)
    for modality in (1, 2, 3):
        for place, name in enumerate(every):
            asked = letters.index(name.split("_")[2][0])
            right, total = ((place % 11, 10), (9, 9), (0, 7))[modality - 1]
            votes = [0] * 6
            votes[asked], votes[(asked + 1) % 6] = right, total - right
            cells = ",".join(str(number) for number in votes)
            rows.append(f'"{modality}{place + 1:05}",{cells},"{name}",{total},0.5,"N"\n')
    return "".join(rows)


def crema_d_actors() -> str:
    """Demographics in the real shape, made up: women have even numbers."""
    rows = ['"ActorID","Age","Sex","Race","Ethnicity"\n']
    for actor in range(1001, 1092):
        sex = "Male" if actor % 2 else "Female"
        rows.append(f'{actor},{actor - 980},"{sex}","Caucasian","Not Hispanic"\n')
    return "".join(rows)


def crema_d(root: Path, *, tables: bool = True, audio: bool = False) -> Path:
    """7442 files ``AudioWAV/1001_DFA_ANG_XX.wav``, and the tables of votes and actors."""
    names = crema_d_names()
    put(root, (f"AudioWAV/{name}.wav" for name in names), audio=audio)
    if tables:
        (root / "VideoDemographics.csv").write_text(crema_d_actors())
        (root / "processedResults").mkdir()
        (root / "processedResults" / "tabulatedVotes.csv").write_text(crema_d_votes(names))
    return root


def ravdess_names(channel: str = "01") -> Iterator[str]:
    """The 1440 names ``Actor_01/03-01-05-01-02-01-01``: no one is strongly neutral."""
    for actor in range(1, 25):
        for emotion in range(1, 9):
            for intensity in (1,) if emotion == 1 else (1, 2):
                for statement in (1, 2):
                    for repetition in (1, 2):
                        yield (
                            f"Actor_{actor:02}/03-{channel}-{emotion:02}-{intensity:02}-"
                            f"{statement:02}-{repetition:02}-{actor:02}"
                        )


def ravdess(root: Path, *, folder: str = ".", audio: bool = False) -> Path:
    """1440 files ``Actor_01/03-01-05-01-02-01-01.wav`` in a folder of the root."""
    return put(root, (f"{folder}/{name}.wav" for name in ravdess_names()), audio=audio)


def emodb_names() -> list[str]:
    """535 names, as many of each speaker and emotion as there are; texts take turns."""
    return [
        f"{speaker}{EMODB_TEXTS[number % 10]}{letter}{'ab'[number // 10]}"
        for speaker, counts in EMODB_COUNTS.items()
        for letter, count in zip(EMODB_LETTERS, counts, strict=True)
        for number in range(count)
    ]


def emodb_recognition(names: Iterable[str]) -> bytes:
    """``erkennung.txt`` in the real shape: 80,00 per cent recognised, 45,50 found natural."""
    pad = b"\xa0"
    lines = [b"Nr.\tSatz\terkannt\tnatuerlich"]
    for number, name in enumerate(names, start=1):
        cells = (str(number).encode() + 2 * pad, name.encode() + b".wav")
        lines.append(b"\t".join((*cells, b"80,00" + 5 * pad, b"45,50" + 5 * pad)))
    return b"\n".join(lines) + b"\n"


def emodb(root: Path, *, recognition: bool = True, audio: bool = False) -> Path:
    """535 files ``wav/03a01Fa.wav`` and ``erkennung.txt``."""
    names = emodb_names()
    put(root, (f"wav/{name}.wav" for name in names), audio=audio)
    if recognition:
        (root / "erkennung.txt").write_bytes(emodb_recognition(names))
    return root


def fsdd(root: Path, *, audio: bool = False) -> Path:
    """3000 files ``recordings/7_jackson_32.wav``, and a file beside them."""
    names = [
        f"recordings/{digit}_{speaker}_{take}.wav"
        for speaker in ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
        for digit in range(10)
        for take in range(50)
    ]
    put(root, names, audio=audio)
    (root / "README.md").write_text("about the recordings\n")
    return root
