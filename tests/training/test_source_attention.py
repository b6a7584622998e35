"""What a source attends to beside the student: in which utterances, and where in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.distillation.attention import attention_transfer
from models.outputs import Heads, Listening, Output
from models.speech_recogniser import SpeechRecogniser
from orchestrator.encoder_outputs import EncoderOutputs
from orchestrator.errors import PretrainedError, StoreError, TrainingError
from orchestrator.experiment.recipe import AttentionTransfer, Augment, RecogniserSource
from orchestrator.features import PackedFrames
from orchestrator.source_encoder import source_name
from orchestrator.store import Store
from orchestrator.training.augment import Window
from orchestrator.training.data import Batch
from orchestrator.training.inputs import FrameSource
from orchestrator.training.networks import build_network, build_recogniser
from orchestrator.training.source_attention import (
    EncoderAttention,
    RecogniserAttention,
    SourceAttention,
    source_attention,
    source_inputs,
    source_recogniser,
    transfer_loss,
)
from orchestrator.training.task import FoldTask
from tests.training.attending import AttendingHome
from tests.training.test_data import frame_data
from tests.training.tiny import disturbed, relabelled


@pytest.fixture
def store(attending: AttendingHome, tmp_path: Path) -> Store:
    return attending.store(tmp_path / "store")


def whole(*rows: int) -> Batch:
    """Utterances of a batch, heard from start to end."""
    count = len(rows)
    return Batch(torch.tensor(rows), (), Window(start=torch.zeros(count), span=torch.ones(count)))


def assert_same(one: Listening, other: Listening) -> None:
    """Bitwise."""
    for name in ("queries", "keys", "values"):
        assert torch.equal(getattr(one.heads, name), getattr(other.heads, name)), name
    assert torch.equal(one.lengths, other.lengths)
    assert torch.equal(one.positions, other.positions)


def satn_of(task: FoldTask) -> Any:
    torch.manual_seed(0)
    return build_network(task.recipe.student, features=task.features, classes=task.classes)


def untrained(task: FoldTask) -> SpeechRecogniser:
    """The recogniser of the recipe, with other weights than the student begins with."""
    assert isinstance(task.recipe.source, RecogniserSource)
    torch.manual_seed(1)
    return build_recogniser(task.recipe.source.network, features=task.features, symbols=3)


def train_data(task: FoldTask, store: Store, augment: Augment | None = None) -> Any:
    pack = PackedFrames.open(store, task.frames)
    return FrameSource(task, pack, task.train).data(task.train, augment=augment)


# A recogniser


@pytest.mark.parametrize("epoch", [None, 1])
def test_a_recogniser_hears_the_very_batch_that_the_student_hears(
    attending: AttendingHome, store: Store, epoch: int | None
) -> None:
    task = attending.task(source__network__depth=2, student__depth=2)
    network = untrained(task)
    augment = Augment(crop_seconds=0.5, time_stretch=0.1, noise=0.1, time_masks=1)
    batch = train_data(task, store, augment).batch(torch.tensor([3, 0, 5]), epoch=epoch)
    attention = RecogniserAttention(network)
    found = attention.listening(batch, [2, 1])
    heard = network.eval()(*batch.inputs)
    student = satn_of(task).eval()(*batch.inputs).listening(1)

    assert list(attention.layers) == [1, 2]
    assert_same(found[0], heard.listening(2))
    assert_same(found[1], heard.listening(1))
    assert heard.logits.requires_grad
    assert not found[0].heads.queries.requires_grad
    # token for token what the student has, wherever in the utterance that is
    assert torch.equal(found[0].positions, student.positions)
    assert torch.equal(found[0].lengths, student.lengths)
    assert attention.placed(student, batch) is student


def test_no_gradient_flows_into_a_recogniser_and_nothing_is_dropped(
    attending: AttendingHome, store: Store
) -> None:
    task = attending.task(source__network__dropout=0.5)
    network = untrained(task)
    attention = RecogniserAttention(network.train())
    batch = train_data(task, store).batch(torch.tensor([0, 1, 2]))
    student = satn_of(task)
    loss = transfer_loss(task, student(*batch.inputs), batch, attention)
    torch.autograd.backward(loss.sum())

    assert loss.shape == (3,)
    assert (loss > 0).all()
    assert all(parameter.grad is None for parameter in network.parameters())
    assert student.encoder.transformer.attentions[0].qkv.weight.grad.abs().sum() > 0
    assert_same(attention.listening(batch, [1])[0], attention.listening(batch, [1])[0])


def test_a_student_that_is_the_recogniser_has_nothing_to_learn_from_it(
    attending: AttendingHome, store: Store
) -> None:
    task = attending.task(initialise="source")
    student = satn_of(task)
    recogniser = source_recogniser(task, store)
    student.encoder.load_state_dict(recogniser.encoder.state_dict())
    batch = train_data(task, store).batch(torch.tensor([0, 1, 2]))
    loss = transfer_loss(task, student(*batch.inputs), batch, RecogniserAttention(recogniser))

    torch.testing.assert_close(loss, torch.zeros(3), atol=1e-6, rtol=0.0)


# A pretrained encoder


class Thirds(nn.Module):
    """A block of two heads whose queries, keys and values are thirds of its input."""

    heads, width = 2, 4

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, frames: Tensor) -> Heads:
        self.calls += 1
        parts = frames.float().view(*frames.shape[:2], 3, 2, 2).permute(2, 0, 3, 1, 4)
        return Heads(*parts.unbind(0))


def states(*frames: int, layers: int = 1) -> list[np.ndarray]:
    """Of utterances of so many frames, ``(frames, layers, 12)``; small whole numbers and halves."""
    draw = np.random.default_rng(0)
    return [
        (draw.integers(-4, 5, size=(count, layers, 12)) / 2).astype(np.float16) for count in frames
    ]


def encoder_of(given: Sequence[np.ndarray], *, first: int = 1, **more: Any) -> EncoderAttention:
    layers = given[0].shape[1]
    blocks: dict[int, Any] = {first + place: Thirds() for place in range(layers)}
    return EncoderAttention(blocks, given, device="cpu", **more)


def test_an_encoder_gives_whole_utterances_padded_and_evenly_placed() -> None:
    given = states(3, 1, 2, layers=2)
    attention = encoder_of(given, first=5)
    six, five = attention.listening(whole(1, 0), [6, 5])

    assert list(attention.layers) == [5, 6]
    assert six.lengths.tolist() == [1, 3]
    np.testing.assert_allclose(six.positions[1], [1 / 6, 1 / 2, 5 / 6], rtol=1e-6)
    assert float(six.positions[0, 0]) == 0.5
    for found, layer in ((five, 0), (six, 1)):
        parts = (found.heads.queries, found.heads.keys, found.heads.values)
        for part, heads in enumerate(parts):
            assert heads.shape == (2, 2, 3, 2)
            assert heads.dtype == torch.float32
            for head in range(2):
                columns = slice(4 * part + 2 * head, 4 * part + 2 * head + 2)
                # row 0 is utterance 1, of one frame
                assert heads[0, head, :1].tolist() == given[1][:, layer, columns].tolist()
                assert heads[1, head].tolist() == given[0][:, layer, columns].tolist()
            assert not heads[0, :, 1:].any()


def test_what_is_kept_in_memory_is_bit_for_bit_what_is_computed_anew(
    attending: AttendingHome, store: Store
) -> None:
    task = attending.task(source=attending.encoder)
    kept = source_attention(task, store, task.train, attended=task.attended)
    assert isinstance(kept, EncoderAttention)
    anew = EncoderAttention(kept.blocks, kept.states, device="cpu", kept_bytes=0)

    for rows in ([0], [5, 1, 3], [3, 5], list(range(len(task.train.ids)))):
        for one, other in zip(
            kept.listening(whole(*rows), [2, 1]), anew.listening(whole(*rows), [2, 1]), strict=True
        ):
            assert_same(one, other)
            assert one.heads.queries.shape[:2] == (len(rows), 2)


@pytest.mark.parametrize(("spare", "kept"), [(0, True), (-1, False)])
def test_as_much_is_kept_as_may_be(spare: int, kept: bool) -> None:
    # 3 + 1 frames, two layers, queries, keys and values of 4 features, 2 bytes each
    given = states(3, 1, layers=2)
    attention = encoder_of(given, kept_bytes=(3 + 1) * 2 * 3 * 4 * 2 + spare)
    blocks: list[Any] = list(attention.blocks.values())

    assert [block.calls for block in blocks] == ([2, 2] if kept else [0, 0])
    attention.listening(whole(0, 1, 0), [1])
    assert [block.calls for block in blocks] == ([2, 2] if kept else [3, 3])


def test_an_encoders_attention_is_that_of_its_own_block(
    attending: AttendingHome, store: Store
) -> None:
    task = attending.task(source=attending.encoder)
    attention = source_attention(task, store, task.train, attended=task.attended)
    assert isinstance(attention, EncoderAttention)
    heard = EncoderOutputs.open(store, task.attended[source_name(task.recipe.source)])

    # what block 1 hears is state 0, and block 2 state 1
    assert heard.layers == (0, 1)
    for layer in (1, 2):
        (found,) = attention.listening(whole(4), [layer])
        frames = heard.frames([task.train.ids[4]])[0][:, layer - 1]
        expected = attention.blocks[layer](torch.from_numpy(frames.copy())[None])
        # kept in half precision
        torch.testing.assert_close(found.heads.queries, expected.queries, atol=1e-2, rtol=1e-3)
        torch.testing.assert_close(found.heads.values, expected.values, atol=1e-2, rtol=1e-3)
        assert found.lengths.tolist() == [len(frames)]
    assert list(attention.layers) == [1, 2]


# Where the student's tokens are


def test_a_students_tokens_are_placed_in_the_part_that_it_heard() -> None:
    """Of an utterance of 200 frames it heard frames 50 to 150; of another all."""
    attention = encoder_of(states(4, 4))
    heads = Heads(*(torch.zeros(2, 1, 3, 1) for _ in range(3)))
    positions = torch.tensor([[0.1, 0.5, 0.9], [0.1, 0.5, 0.9]])
    student = Listening(heads, torch.tensor([3, 3]), positions)
    window = Window(start=torch.tensor([0.25, 0.0]), span=torch.tensor([0.5, 1.0]))
    placed = attention.placed(student, Batch(torch.tensor([1, 0]), (), window))

    np.testing.assert_allclose(
        placed.positions, [[0.30, 0.50, 0.70], [0.1, 0.5, 0.9]], rtol=0, atol=1e-7
    )
    assert placed.heads is heads
    assert placed.lengths is student.lengths


@pytest.mark.parametrize("tempo", [0.0, 0.3])
def test_tokens_of_a_cropped_and_stretched_batch_are_placed_where_they_were_spoken(
    attending: AttendingHome, tempo: float
) -> None:
    """Every feature is the frame's place, so that a batch tells what it was cut from."""
    lengths = torch.tensor([160, 90, 61])
    augment = Augment(crop_seconds=0.4, time_stretch=tempo)
    data = frame_data(*lengths.tolist(), augment=augment)
    student = satn_of(attending.task()).eval()
    attention = encoder_of(states(40, 20, 10))
    windows = []
    for epoch in range(1, 6):
        batch = data.batch(torch.tensor([2, 0, 1]), epoch=epoch)
        frames, spoken = batch.inputs
        # a token every second frame, the same features again as the student's eight bins
        heard = student(frames[:, :, :1].expand(-1, -1, 8).contiguous(), spoken).listening(1)
        placed = attention.placed(heard, batch)
        for row, length in enumerate(lengths[batch.rows].tolist()):
            tokens = int(heard.lengths[row])
            said = frames[row, ::2, 0][:tokens] + 0.5
            # interpolated frames lie between the first and the last that are heard
            np.testing.assert_allclose(
                placed.positions[row, :tokens] * length, said, atol=0.5 * tempo + 1e-3
            )
        windows.append(batch.window.start)

    assert torch.stack(windows).max() > 0.3


def test_a_part_of_an_utterance_is_compared_with_that_part_of_the_sources_map() -> None:
    """The student hears the source's third to sixth of eight tokens, and attends among them as it
    does: its rows are the source's, divided among that part."""
    given = states(8)
    attention = encoder_of(given)
    (source,) = attention.listening(whole(0), [1])
    part = Heads(
        *(
            getattr(source.heads, name)[:, :, 2:6].clone().requires_grad_()
            for name in ("queries", "keys", "values")
        )
    )
    positions = (torch.arange(4.0)[None] + 0.5) / 4
    output = Output(
        torch.zeros(1, 2), torch.zeros(1, 4), torch.zeros(1, 4, 4), torch.tensor([4]), positions,
        attention=(part,),
    )  # fmt: skip
    task: Any = Wanting()
    quarter = Window(start=torch.tensor([0.25]), span=torch.tensor([0.5]))
    loss = transfer_loss(task, output, Batch(torch.tensor([0]), (), quarter), attention)
    elsewhere = Window(start=torch.tensor([0.5]), span=torch.tensor([0.5]))
    wrong = transfer_loss(task, output, Batch(torch.tensor([0]), (), elsewhere), attention)

    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert wrong.item() > 0.05


# Which layers


class Wanting:
    """As much of a task as the loss reads."""

    def __init__(self, **section: Any) -> None:
        wanted = AttentionTransfer.model_validate(section)
        self.recipe = SimpleNamespace(attention_transfer=wanted)


class Layers(SourceAttention):
    """A source whose layers are drawn by their number; the second of four is not to be had."""

    layers = (1, 3, 4)

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def listening(self, batch: Batch, layers: Sequence[int]) -> list[Listening]:
        self.asked.append(list(layers))
        return [drawn(layer) for layer in layers]


def drawn(seed: int, tokens: int = 4) -> Listening:
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randn(2, 2, tokens, 3, generator=generator) for _ in range(3)]
    positions = ((torch.arange(tokens) + 0.5) / tokens).expand(2, tokens)
    return Listening(Heads(*parts), torch.tensor([tokens, tokens - 1]), positions)


def student_output(*seeds: int) -> Output:
    """A student with an attention layer by each seed."""
    layers = [drawn(seed) for seed in seeds]
    return Output(
        logits=torch.zeros(2, 4),
        pooled=torch.zeros(2, 6),
        tokens=torch.zeros(2, 4, 6),
        token_lengths=torch.tensor([4, 3]),
        positions=layers[0].positions if layers else torch.zeros(2, 4),
        attention=tuple(layer.heads for layer in layers),
    )


def test_by_default_the_last_layer_learns_from_the_last() -> None:
    source = Layers()
    task: Any = Wanting(match="l2")
    loss = transfer_loss(task, student_output(10, 11), whole(0, 1), source)

    assert source.asked == [[4]]
    assert torch.equal(loss, attention_transfer(drawn(11), drawn(4), match="l2"))


def test_layers_are_counted_from_the_last_where_the_file_does_so() -> None:
    source = Layers()
    task: Any = Wanting(match="l2", pairs=[[-1, -2], [-3, -1], [3, 2]])
    loss = transfer_loss(task, student_output(10, 11), whole(0, 1), source)
    pairs = [(10, 4), (11, 1), (11, 3)]
    each = [attention_transfer(drawn(mine), drawn(theirs), match="l2") for mine, theirs in pairs]

    assert source.asked == [[4, 1, 3]]
    torch.testing.assert_close(loss, sum(each) / 3)


@pytest.mark.parametrize(
    "options",
    [
        {"match": "kl"},
        {"match": "kl", "values": True},
        {"match": "relations", "relation_heads": 3},
        {"match": "similarity"},
    ],
)
def test_pairs_choose_the_layers_and_the_loss_is_their_mean(options: dict[str, Any]) -> None:
    source = Layers()
    task: Any = Wanting(pairs=[[1, 2], [3, 1], [3, 2]], **options)
    loss = transfer_loss(task, student_output(10, 11), whole(0, 1), source)
    pairs = [(11, 1), (10, 3), (11, 3)]
    each = [attention_transfer(drawn(mine), drawn(theirs), **options) for mine, theirs in pairs]

    assert source.asked == [[1, 3, 3]]
    torch.testing.assert_close(loss, sum(each) / 3)
    assert len({float(one[0]) for one in each}) == 3


def test_the_file_says_which_layers_a_real_source_teaches(
    attending: AttendingHome, store: Store
) -> None:
    losses = []
    for pairs in (None, [[2, 1]], [[1, 1]], [[-2, -1]]):
        task = attending.task(source=attending.encoder, attention_transfer__pairs=pairs)
        attention = source_attention(task, store, task.train, attended=task.attended)
        batch = train_data(task, store).batch(torch.tensor([0, 1, 2]))
        losses.append(transfer_loss(task, satn_of(task).eval()(*batch.inputs), batch, attention))

    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[2], losses[3])
    assert not torch.equal(losses[0], losses[2])


def test_a_batch_that_is_read_in_segments_is_refused(
    attending: AttendingHome, store: Store
) -> None:
    task = attending.task(student__segment_seconds=0.4)
    data = train_data(task, store)
    student = satn_of(task)
    source = RecogniserAttention(source_recogniser(task, store))
    batch = data.batch(torch.tensor([0, 1, 2]))
    with pytest.raises(TrainingError, match="crop utterances to student.segment_seconds, or set"):
        transfer_loss(task, student(*batch.inputs), batch, source)

    # as training crops them
    cropped = train_data(task, store, task.recipe.student_augment)
    batch = cropped.batch(torch.tensor([0, 1, 2]), epoch=1)
    assert transfer_loss(task, student(*batch.inputs), batch, source).isfinite().all()


# From whom: neither labels nor the tested (law 2)


def test_only_the_utterances_that_are_asked_for_are_listened_to(
    attending: AttendingHome, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = attending.task(source=attending.encoder, unlabelled={"kind": "mixed"})
    assert task.unlabelled is not None
    asked: list[str] = []
    real = EncoderOutputs.frames

    def frames(self: EncoderOutputs, ids: Sequence[str]) -> Any:
        asked.extend(ids)
        return real(self, ids)

    monkeypatch.setattr(EncoderOutputs, "frames", frames)
    source_attention(task, store, task.train, attended=task.attended)
    speech = task.unlabelled
    labelled, asked[:] = list(asked), []
    source_attention(task, store, speech.utterances, attended=speech.attended)

    assert labelled == list(task.train.ids)
    assert asked == list(speech.utterances.ids)
    tested = set(attending.prepared.corpus.table["id"]) - set(task.train.ids)
    assert not tested & set(labelled)


@pytest.mark.parametrize("kind", ["recogniser", "pretrained"])
@pytest.mark.parametrize("change", [disturbed, relabelled])
def test_neither_labels_nor_whom_the_fold_tests_change_what_is_attended_to(
    attending: AttendingHome, store: Store, kind: str, change: Callable[..., Any]
) -> None:
    corpus = attending.prepared.corpus
    recipe = {"source": attending.encoder} if kind == "pretrained" else {}
    # everyone has other labels, or the tested says something else
    whom = sorted(set(corpus.table["speaker"])) if change is relabelled else ["s1m"]
    before = attending.task_on(corpus, store, **recipe)
    after = attending.task_on(change(corpus, whom), store, **recipe)
    found = []
    for task in (before, after):
        attention = source_attention(task, store, task.train, attended=task.attended)
        batch = train_data(task, store).batch(torch.arange(len(task.train.ids)))
        found.append(attention.listening(batch, [1])[0])

    assert before.fold == after.fold == "speaker=s1m"
    assert_same(*found)
    assert source_inputs(before) == source_inputs(after)


# What a fold run is given


def test_a_source_that_was_not_handed_over_is_missed(
    attending: AttendingHome, store: Store
) -> None:
    pretrained = dataclasses.replace(attending.task(source=attending.encoder), attended={})
    recogniser = dataclasses.replace(attending.task(), recognisers={})

    for task, said in ((pretrained, "no states of its pretrained"), (recogniser, "no recogniser")):
        with pytest.raises(TrainingError, match=said):
            source_attention(task, store, task.train, attended=task.attended)
        with pytest.raises(TrainingError, match=said):
            source_inputs(task)


def test_another_source_than_was_prepared_is_missed(attending: AttendingHome, store: Store) -> None:
    other = attending.task(source__seed=1)
    layer = attending.task(source={**attending.encoder, "layers": [1]})

    for task in (other, layer):
        with pytest.raises(TrainingError, match="was given no"):
            source_attention(task, store, task.train, attended=task.attended)


def test_a_recogniser_that_has_gone_from_the_store_is_said_to(
    attending: AttendingHome, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="no whole recogniser artifact"):
        source_recogniser(attending.task(), Store(tmp_path))


def test_an_encoder_with_other_weights_than_heard_the_corpus_is_refused(
    attending: AttendingHome, store: Store
) -> None:
    task = attending.task(source=attending.encoder)
    name = source_name(task.recipe.source)
    strange = {name: dataclasses.replace(task.attended[name], weights="other")}
    with pytest.raises(PretrainedError, match="weights"):
        source_attention(task, store, task.train, attended=strange)


def test_a_key_tells_one_source_from_another(attending: AttendingHome) -> None:
    recogniser = attending.task()
    encoder = attending.task(source=attending.encoder)

    assert source_inputs(recogniser) == {"recogniser": next(iter(recogniser.recognisers.values()))}
    identity = encoder.attended[source_name(encoder.recipe.source)].identity
    assert source_inputs(encoder) == {"states": identity}


def test_a_fitted_recogniser_is_used_as_it_was_fitted(
    attending: AttendingHome, store: Store
) -> None:
    network = source_recogniser(attending.task(), store)

    assert isinstance(network, SpeechRecogniser)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
