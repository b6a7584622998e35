"""Encoders in training: the same numbers as the frozen ones before, and only what should change."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from models.fine_tuned import FineTuned, TrainedPart, full_model, low_rank, top_layers
from models.layer_mix import FrameMixHead
from models.pretrained import NotAnEncoderError, SpeechEncoder, load_encoder
from tests.models.encoders import noise, save_waveform_model, save_whisper

STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
WAVEFORM: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("wav2vec2", {}),
    "wav2vec2 with norms first": ("wav2vec2", STABLE),
    "hubert": ("hubert", {}),
    "wavlm": ("wavlm", {}),
    "wavlm with norms first": ("wavlm", STABLE),
    "data2vec-audio": ("data2vec-audio", {}),
    "unispeech": ("unispeech", {}),
    "unispeech-sat": ("unispeech-sat", {}),
}
NAMED = ("wav2vec2", "hubert", "wavlm", "whisper")
WAVEFORMS = [noise(700, seed=1), noise(2000, seed=2) * 3 + 1, noise(1003, seed=3)]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("encoders")
    found = {}
    for name, (kind, changes) in WAVEFORM.items():
        root = home / name.replace(" ", "-")
        found[name] = save_waveform_model(root, kind, num_hidden_layers=3, **changes)
        if kind == "wavlm":
            # so that a bias that is lost would be seen
            model = transformers.AutoModel.from_pretrained(root)
            with torch.no_grad():
                model.encoder.layers[0].attention.rel_attn_embed.weight.normal_(std=3.0)
            model.save_pretrained(root)
    found["whisper"] = save_whisper(home / "whisper", encoder_layers=3)
    return found


Load = Callable[[str], SpeechEncoder]


@pytest.fixture
def load(roots: dict[str, Path]) -> Load:
    return lambda name: load_encoder(roots[name])


def network_of(
    part: TrainedPart, *, mixed: int, pooling: Any = "mean", rate_factor: float = 0.1
) -> FineTuned:
    torch.manual_seed(0)
    head = FrameMixHead(layers=mixed, width=16, classes=2, pooling=pooling)
    return FineTuned(part, head, chosen=range(mixed), rate_factor=rate_factor)


def stored(states: list[Tensor], layer: int) -> tuple[Tensor, Tensor]:
    """The layer's frames as the store keeps them, padded (batch, frames, 1, width)."""
    frames = [state[layer].half().float()[:, None] for state in states]
    lengths = torch.tensor([len(one) for one in frames])
    return nn.utils.rnn.pad_sequence(frames, batch_first=True, padding_value=99.0), lengths


def assert_states(
    found: list[Tensor], lengths: Tensor, expected: list[Tensor], **kind: Any
) -> None:
    for row, states in enumerate(expected):
        assert lengths[row] == states.shape[1]
        for state, layer in zip(found, states, strict=True):
            torch.testing.assert_close(state[row, : lengths[row]], layer, **kind)


# Before training


@pytest.mark.parametrize("name", WAVEFORM)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_untouched_last_layers_on_stored_frames_are_the_frozen_encoders(
    load: Load, name: str, count: int
) -> None:
    frozen = load(name).hidden_states(WAVEFORMS)
    part = top_layers(load(name), count).eval()

    with torch.no_grad():
        found, lengths = part(*stored(frozen, 3 - count))

    upper = [states[3 - count :] for states in frozen]
    assert_states(found, lengths, upper, atol=5e-3, rtol=5e-3)


def test_whispers_last_layers_hear_the_utterances_own_frames_alone(load: Load) -> None:
    encoder = load("whisper")
    frames, lengths = stored(encoder.hidden_states(WAVEFORMS), 2)
    part = top_layers(load("whisper"), 1).eval()
    model = encoder.model

    with torch.no_grad():
        found, _ = part(frames, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = model.layer_norm(model.layers[2](frames[row, :length, 0][None], None))[0]
            torch.testing.assert_close(found[1][row, :length], alone)


@pytest.mark.parametrize("name", [*WAVEFORM, "whisper"])
def test_untouched_whole_encoder_hears_an_utterance_alone_or_in_a_batch_as_the_frozen_one(
    load: Load, name: str
) -> None:
    expected = load(name).hidden_states(WAVEFORMS)
    encoder = load(name)
    full = full_model(encoder).eval()

    with torch.no_grad():
        found, lengths = full(*encoder.batch(WAVEFORMS))
        alone, length = full(*encoder.batch(WAVEFORMS[:1]))

    assert_states(found, lengths, expected, atol=1e-5, rtol=1e-4)
    assert_states(alone, length, expected[:1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NAMED)
def test_low_rank_additions_are_nothing_at_first_and_then_their_product(
    load: Load, name: str
) -> None:
    expected = load(name).hidden_states(WAVEFORMS)
    encoder, by_hand = load(name), load(name)
    torch.manual_seed(0)
    part = low_rank(encoder, rank=3, alpha=6.0).eval()
    inputs = encoder.batch(WAVEFORMS)
    with torch.no_grad():
        found, lengths = part(*inputs)
        assert_states(found, lengths, expected, atol=1e-5, rtol=1e-4)

        added = 0
        weights = dict(by_hand.model.named_parameters())
        for path, module in part.upper.named_modules():
            if path.endswith(("q_proj", "k_proj", "v_proj", "out_proj")):
                down, up = module.lora_A["default"].weight, module.lora_B["default"].weight
                up.normal_()
                # of Whisper the model is the encoder itself
                there = "layers." if name == "whisper" else "encoder.layers."
                weights[path.replace("blocks.", there) + ".weight"] += 6.0 / 3 * up @ down
                added += 1
        assert added == 3 * 4
        found, lengths = part(*inputs)

    changed = by_hand.hidden_states(WAVEFORMS)
    assert (changed[0][-1] - expected[0][-1]).abs().max() > 0.1
    assert_states(found, lengths, changed, atol=1e-4, rtol=1e-3)


# In training


def parts_of(mode: str, encoder: SpeechEncoder, **options: Any) -> TrainedPart:
    if mode == "top-n":
        return top_layers(encoder, 2, **options)
    if mode == "full":
        return full_model(encoder, **options)
    return low_rank(encoder, rank=2, alpha=4.0, **options)


def meant_to_change(mode: str, name: str) -> bool:
    if name.startswith("head.") and name not in ("head.mean", "head.deviation"):
        return True
    if mode == "lora":
        return "lora_" in name
    if mode == "top-n":
        return name.startswith("encoder.upper") and "rel_attn_embed" not in name
    # Whisper's positions are sinusoids, the others' a convolution with weight norm
    return name.startswith("encoder.upper") or (
        name.startswith(("encoder.stem.projection", "encoder.stem.positions", "encoder.stem.norm"))
        and name != "encoder.stem.positions.weight"
    )


def problem(mode: str, encoder: SpeechEncoder) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Loud and rough against smooth: what the network reads, and the classes."""
    # Whisper's frames are of 320 samples, the others' of 20
    size = 10 if encoder.longest else 1
    rough = [noise((300 + 40 * row) * size, seed=row) for row in range(4)]
    smooth = [np.sin(np.arange((320 + 40 * row) * size) / 9).astype(np.float32) for row in range(4)]
    classes = torch.tensor([0] * 4 + [1] * 4)
    if mode == "top-n":
        return stored(encoder.hidden_states([*rough, *smooth]), 1), classes
    return encoder.batch([*rough, *smooth]), classes


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("mode", ["top-n", "full", "lora"])
def test_training_lowers_the_loss_and_changes_what_it_should(
    load: Load, name: str, mode: str
) -> None:
    encoder = load(name)
    inputs, classes = problem(mode, load(name))
    mixed = 3 if mode == "top-n" else 4
    torch.manual_seed(0)
    network = network_of(parts_of(mode, encoder), mixed=mixed, pooling="attentive")
    with torch.no_grad():
        network.eval().head.fit_statistics(network.vectors(*inputs))
    before = copy.deepcopy(network.state_dict())
    # the random Whisper's states are nearly the same for all speech, so small steps are large to it
    rate = 1e-4 if name == "whisper" else 3e-3
    encoder_part = [p for p in network.encoder.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(
        [{"params": encoder_part, "lr": rate}, {"params": network.head.parameters(), "lr": 2e-2}]
    )
    losses = []
    for _ in range(20):
        loss = nn.functional.cross_entropy(network.train()(*inputs).logits, classes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))

    assert losses[-1] < 0.5 * losses[0]
    frozen = network.frozen_prefixes()
    for key, value in network.state_dict().items():
        changed = not torch.equal(value, before[key])
        if key.endswith(("k_proj.bias", "score.bias")):
            continue  # softmax takes out what moves all scores alike
        if key.startswith("encoder."):
            assert changed != key.startswith(frozen), key
        assert changed == meant_to_change(mode, key), key


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("mode", ["top-n", "full", "lora"])
def test_gradient_checkpointing_changes_no_number(load: Load, name: str, mode: str) -> None:
    inputs, classes = problem(mode, load(name))
    gradients = []
    for saving in (False, True):
        torch.manual_seed(1)
        part = parts_of(mode, load(name), checkpointing=saving)
        network = network_of(part, mixed=3 if mode == "top-n" else 4).train()
        torch.manual_seed(2)  # of the dropout
        nn.functional.cross_entropy(network(*inputs).logits, classes).backward()
        gradients.append({k: p.grad for k, p in network.named_parameters() if p.grad is not None})

    assert gradients[0].keys() == gradients[1].keys()
    for key, value in gradients[0].items():
        assert torch.equal(value, gradients[1][key]), key


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("mode", ["top-n", "full", "lora"])
def test_what_was_trained_and_the_published_encoder_are_the_network(
    load: Load, name: str, mode: str
) -> None:
    inputs, _ = problem(mode, load(name))
    mixed = 3 if mode == "top-n" else 4
    network = network_of(parts_of(mode, load(name)), mixed=mixed, pooling="statistics").eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    frozen = network.frozen_prefixes()
    kept = {k: v for k, v in network.state_dict().items() if not k.startswith(frozen)}
    torch.manual_seed(9)
    other = network_of(parts_of(mode, load(name)), mixed=mixed, pooling="statistics").eval()
    missing, unexpected = other.load_state_dict(kept, strict=False)

    assert not unexpected
    assert all(key.startswith(frozen) for key in missing)
    with torch.no_grad():
        assert torch.equal(network(*inputs).logits, other(*inputs).logits)
        again = copy.deepcopy(network).requires_grad_(False)
        assert torch.equal(network(*inputs).logits, again(*inputs).logits)
        assert again.frozen_prefixes() == frozen
    if mode == "lora":
        assert {k.split(".")[-3] for k in kept if k.startswith("encoder.")} == {"lora_A", "lora_B"}


def test_the_encoder_has_its_own_learning_rate(load: Load) -> None:
    network = network_of(full_model(load("hubert")), mixed=4, rate_factor=0.02)

    assert network.rate_factors() == {"encoder.": 0.02}
    assert all(name.startswith(("encoder.", "head.")) for name, _ in network.named_parameters())


def test_chosen_hidden_states_are_mixed(load: Load) -> None:
    encoder = load("wav2vec2")
    states = load("wav2vec2").hidden_states(WAVEFORMS[:1])[0]
    head = FrameMixHead(layers=2, width=16, classes=2, pooling="mean")
    network = FineTuned(full_model(encoder), head, chosen=(3, 1), rate_factor=1.0).eval()

    with torch.no_grad():
        vectors = network.vectors(*encoder.batch(WAVEFORMS[:1]))
        mixed, lengths = network.mixed(*encoder.batch(WAVEFORMS[:1]))

    torch.testing.assert_close(vectors[0], states[[3, 1]].mean(1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mixed[0], states[[3, 1]].mean(0), atol=1e-5, rtol=1e-4)
    assert lengths.tolist() == [states.shape[1]]


def test_a_conformer_is_refused(tmp_path: Path) -> None:
    encoder = load_encoder(save_waveform_model(tmp_path, "wav2vec2-conformer"))

    for make in (lambda: top_layers(encoder, 1), lambda: full_model(encoder)):
        with pytest.raises(NotAnEncoderError, match="wav2vec2-conformer.*mode frozen"):
            make()
