from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pulmoscope.models.patient import (
    AttentionPooling,
    Ensemble,
    LstmPooling,
    MaxPooling,
    PatientClassifier,
    build_patient,
    weighted,
)
from pulmoscope.recipes.specs import CLASSIFIERS

VECTOR, CLASSES = 6, 3
every_classifier = pytest.mark.parametrize("name", CLASSIFIERS)
NETWORKS: dict[str, PatientClassifier] = {}


def network(name: str) -> PatientClassifier:
    if name not in NETWORKS:
        torch.manual_seed(7)
        NETWORKS[name] = build_patient(CLASSIFIERS[name], VECTOR, CLASSES, lstm_units=5).eval()
    return NETWORKS[name]


def study(name: str, slices: int, seed: int) -> Tensor:
    inputs = VECTOR * CLASSES if CLASSIFIERS[name].weighted else VECTOR
    return torch.randn(slices, inputs, generator=torch.Generator().manual_seed(seed))


def batched(studies: list[Tensor], filling: float, beyond: int) -> tuple[Tensor, Tensor]:
    longest = max(map(len, studies)) + beyond
    batch = torch.full((len(studies), longest, studies[0].shape[1]), filling)
    for row, own in zip(batch, studies, strict=True):
        row[: len(own)] = own
    return batch, torch.tensor([len(own) for own in studies])


@every_classifier
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    filling=st.sampled_from([0.0, 1e4, -1e4]),
    beyond=st.integers(0, 5),
)
def test_neither_padding_nor_company_changes_a_patients_answer(
    name: str, lengths: list[int], filling: float, beyond: int
) -> None:
    studies = [study(name, slices, seed) for seed, slices in enumerate(lengths)]
    with torch.no_grad():
        together = torch.softmax(network(name)(*batched(studies, filling, beyond)), dim=1)
        alone = torch.cat([torch.softmax(network(name)(own.unsqueeze(0)), dim=1) for own in studies])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


@every_classifier
def test_padding_gets_no_gradient(name: str) -> None:
    batch, lengths = batched([study(name, 3, 0), study(name, 5, 1)], 2.0, 0)
    batch.requires_grad_()
    model = network(name).train()
    model(batch, lengths).square().sum().backward()
    assert batch.grad is not None
    assert torch.isfinite(batch.grad).all()
    assert (batch.grad[0, 3:] == 0).all()
    assert (batch.grad[1] != 0).any()
    model.eval()


@every_classifier
def test_what_its_file_gives(name: str) -> None:
    slices = study(name, 4, 3).unsqueeze(0)
    with torch.no_grad():
        logits, vector = network(name).explainable(slices)
        torch.testing.assert_close(logits, network(name)(slices))
    assert vector.shape == (1, CLASSIFIERS[name].hidden)
    assert (vector >= 0).all()


def test_sizes_are_the_papers() -> None:
    layers = {
        name: build_patient(spec, 1024, 3) for name, spec in CLASSIFIERS.items() if "attention" not in name
    }
    assert [layers[name].head.hidden.in_features for name in layers] == [1024, 3072, 1024, 1024]  # type: ignore[union-attr]
    assert [layers[name].head.hidden.out_features for name in layers] == [512, 512, 1024, 1024]  # type: ignore[union-attr]
    lstm = layers["bilstm-weighted"].pooling.lstm
    assert isinstance(lstm, nn.LSTM)
    assert (lstm.input_size, lstm.hidden_size, lstm.bidirectional) == (3072, 512, True)
    ensemble = Ensemble(4, 3)
    assert sum(weight.numel() for weight in ensemble.parameters()) == 12 * 10 + 10 + 10 * 3 + 3


def test_weighted_vectors_by_hand() -> None:
    vectors = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    shares = torch.tensor([[[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]])
    expected = torch.tensor([[[0.5, 1.0, 0.25, 0.5, 0.25, 0.5], [0.0, 0.0, 3.0, 4.0, 0.0, 0.0]]])
    torch.testing.assert_close(weighted(vectors, shares), expected)


def test_pooling_by_hand() -> None:
    slices = torch.tensor([[[1.0, -5.0], [3.0, -7.0], [9.0, 9.0]]])
    lengths = torch.tensor([2])
    torch.testing.assert_close(MaxPooling(2)(slices, lengths), torch.tensor([[3.0, -5.0]]))
    attention = AttentionPooling(2, units=1)
    with torch.no_grad():
        attention.content.weight.copy_(torch.tensor([[1.0, 0.0]]))
        attention.gate.weight.copy_(torch.tensor([[0.0, 1.0]]))
        attention.score.weight.copy_(torch.tensor([[2.0]]))
        attention.content.bias.zero_()
        attention.gate.bias.zero_()
    first, second = slices[0, 0], slices[0, 1]
    scores = [2 * torch.tanh(own[0]) / (1 + torch.exp(-own[1])) for own in (first, second)]
    share = torch.exp(scores[0]) / (torch.exp(scores[0]) + torch.exp(scores[1]))
    torch.testing.assert_close(
        attention(slices, lengths)[0], share * first + (1 - share) * second, check_stride=False
    )


def test_lstm_pooling_is_the_mean_over_time_of_a_bidirectional_lstm() -> None:
    torch.manual_seed(1)
    pooling = LstmPooling(4, 3)
    slices = torch.randn(1, 5, 4)
    with torch.no_grad():
        forward, backward = nn.LSTM(4, 3, batch_first=True), nn.LSTM(4, 3, batch_first=True)
        own = pooling.lstm.state_dict()
        forward.load_state_dict({name: value for name, value in own.items() if "reverse" not in name})
        backward.load_state_dict(
            {name.replace("_reverse", ""): value for name, value in own.items() if "reverse" in name}
        )
        expected = torch.cat([forward(slices)[0].mean(1), backward(slices.flip(1))[0].mean(1)], dim=1)
        torch.testing.assert_close(pooling(slices, None), expected)
        torch.testing.assert_close(pooling(slices, torch.tensor([5])), expected)
