"""A batch that is heard in parts, by several workers or one after another, yet compared whole."""

from __future__ import annotations

from torch import Tensor

from orchestrator.training.ranks import Ranks


class Whole:
    """A batch in one piece: what a loss that compares utterances sees of the others.

    Args:
        rows: places of the utterances of the whole batch in their data, ``(whole,)``.
    """

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def of(self, features: Tensor) -> Tensor:
        """Features of the whole batch, ``(whole, ...)`` in the order of ``rows``.

        Args:
            features: of this part's utterances, ``(part, ...)``; only to them do gradients flow.
        """
        return features

    def part(self, losses: Tensor) -> Tensor:
        """Losses of this part's utterances, ``(part,)``, whose gradient is that of all.

        Summed over the parts, such gradients are the gradient of the whole batch's losses, although
        each part takes the features of the others as given.

        Args:
            losses: of the whole batch, ``(whole,)``.
        """
        return losses


class Part(Whole):
    """A part of a batch.

    Args:
        rows: of the whole batch.
        places: of this part's utterances in it, ``(part,)``.
    """

    def __init__(self, rows: Tensor, places: Tensor) -> None:
        super().__init__(rows)
        self.places = places

    def part(self, losses: Tensor) -> Tensor:
        """The part's own values; the others' have a gradient but add nothing."""
        places = self.places.to(losses.device)
        own = losses[places]
        rest = losses.sum() - own.sum()
        return own + (rest - rest.detach()) / max(1, len(own))

    def _spread(self, features: Tensor) -> Tensor:
        """``(whole, ...)``: the part's features, without gradient, and zeros."""
        known = features.new_zeros(len(self.rows), *features.shape[1:])
        return known.index_copy(0, self.places.to(features.device), features.detach())

    def _with(self, known: Tensor, features: Tensor) -> Tensor:
        return known.index_copy(0, self.places.to(features.device), features)


class Gathered(Part):
    """A worker's part of a batch; the workers tell each other what they have heard.

    Every worker asks :meth:`of` as often as the others, in the same order; one that has no part
    has ``places`` of length 0 and features of any utterance, which count for nothing.
    """

    def __init__(self, rows: Tensor, places: Tensor, *, ranks: Ranks) -> None:
        super().__init__(rows, places)
        self.ranks = ranks

    def of(self, features: Tensor) -> Tensor:
        """Those of the other workers are constants."""
        features = features[: len(self.places)]
        return self._with(self.ranks.sum_values(self._spread(features)), features)


class Recording:
    """What the parts of a batch that go through the network one after another are, before one of
    them is learned from.

    Args:
        rows: of the whole batch.
        ranks: workers that share it.
    """

    def __init__(self, rows: Tensor, *, ranks: Ranks) -> None:
        self.rows = rows
        self.ranks = ranks
        self.known: list[Tensor] = []

    def heard(self, places: Tensor) -> Whole:
        """A part that is heard for the first time, and remembered."""
        return _Heard(self, places)

    def finish(self) -> None:
        """All of this worker's parts have been heard: tell the other workers."""
        self.known = [self.ranks.sum_values(known) for known in self.known]

    def again(self, places: Tensor) -> Whole:
        """A part that is heard again, to be learned from, beside all others."""
        return _Again(self, places)


class _Heard(Part):
    def __init__(self, recording: Recording, places: Tensor) -> None:
        super().__init__(recording.rows, places)
        self.recording = recording
        self.asked = 0

    def of(self, features: Tensor) -> Tensor:
        features = features[: len(self.places)]
        spread, known = self._spread(features), self.recording.known
        if self.asked == len(known):
            known.append(spread)
        else:
            # other parts' places are zero here
            known[self.asked] = known[self.asked] + spread
        self.asked += 1
        return self._with(spread, features)


class _Again(Part):
    def __init__(self, recording: Recording, places: Tensor) -> None:
        super().__init__(recording.rows, places)
        self.recording = recording
        self.asked = 0

    def of(self, features: Tensor) -> Tensor:
        known = self.recording.known[self.asked]
        self.asked += 1
        return self._with(known, features[: len(self.places)])
