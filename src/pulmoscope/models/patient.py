"""Patient-level classifiers: from the vectors of all slices of a study to one answer.

System B's are of Garg et al. (ICASSP 2021), section III.C.2, and a fifth beyond the paper, gated attention; system A's
learnt votes are attention beside the largest value of each feature, and the mean. Gated attention (Ilse et al. 2018,
«Attention-based deep multiple instance learning», ICML, equations 8 and 9). Studies have different numbers of slices;
in a batch the shorter ones are filled up, and what fills them never counts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pulmoscope.models.classifier import Head
from pulmoscope.recipes.specs import PatientSpec


def weighted(vectors: Tensor, probabilities: Tensor) -> Tensor:
    """Each slice's vector times each class's probability, side by side: (…, d) and (…, classes) -> (…, classes x d)."""
    return (probabilities.unsqueeze(-1) * vectors.unsqueeze(-2)).flatten(-2)


def mask_of(slices: Tensor, lengths: Tensor) -> Tensor:
    """Which slices of (batch, slices, d) are there: bool (batch, slices, 1)."""
    positions = torch.arange(slices.shape[1], device=slices.device)
    return (positions < lengths.to(slices.device).unsqueeze(1)).unsqueeze(-1)


class MaxPooling(nn.Module):
    """The largest value of each dimension over all slices."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.outputs = inputs

    def forward(self, slices: Tensor, lengths: Tensor | None) -> Tensor:
        """(batch, slices, inputs) -> (batch, inputs)."""
        if lengths is not None:
            slices = slices.masked_fill(~mask_of(slices, lengths), float("-inf"))
        return slices.amax(dim=1)


class MeanPooling(nn.Module):
    """The mean of each dimension over all slices."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.outputs = inputs

    def forward(self, slices: Tensor, lengths: Tensor | None) -> Tensor:
        """(batch, slices, inputs) -> (batch, inputs)."""
        if lengths is None:
            return slices.mean(dim=1)
        return (slices * mask_of(slices, lengths)).sum(dim=1) / lengths.to(slices.device).unsqueeze(1)


class LstmPooling(nn.Module):
    """A bidirectional LSTM over the slices from the feet to the head; the mean of its outputs."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, units, batch_first=True, bidirectional=True)
        self.outputs = 2 * units

    def forward(self, slices: Tensor, lengths: Tensor | None) -> Tensor:
        """(batch, slices, inputs) -> (batch, 2 x units); the backward direction begins at a study's own last slice."""
        if lengths is None:
            return self.lstm(slices)[0].mean(dim=1)  # type: ignore[no-any-return]
        packed = pack_padded_sequence(slices, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return outputs.sum(dim=1) / lengths.to(outputs.device).unsqueeze(1)


class AttentionPooling(nn.Module):
    """A mean of the slices whose weights are learnt: softmax of w . (tanh(V h) x sigmoid(U h)), equation 9."""

    def __init__(self, inputs: int, units: int = 128) -> None:
        super().__init__()
        self.content = nn.Linear(inputs, units)
        self.gate = nn.Linear(inputs, units)
        self.score = nn.Linear(units, 1, bias=False)
        self.outputs = inputs

    def forward(self, slices: Tensor, lengths: Tensor | None) -> Tensor:
        """(batch, slices, inputs) -> (batch, inputs)."""
        scores = self.score(torch.tanh(self.content(slices)) * torch.sigmoid(self.gate(slices)))
        if lengths is not None:
            scores = scores.masked_fill(~mask_of(slices, lengths), float("-inf"))
        return (torch.softmax(scores, dim=1) * slices).sum(dim=1)


class AttentionMaxPooling(nn.Module):
    """:class:`AttentionPooling` and :class:`MaxPooling` side by side: what is usual, and the most that is anywhere."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.attention, self.most = AttentionPooling(inputs), MaxPooling(inputs)
        self.outputs = 2 * inputs

    def forward(self, slices: Tensor, lengths: Tensor | None) -> Tensor:
        """(batch, slices, inputs) -> (batch, 2 x inputs)."""
        return torch.cat([self.attention(slices, lengths), self.most(slices, lengths)], dim=1)


class PatientClassifier(nn.Module):
    """Slices' vectors (batch, slices, inputs) -> logits (batch, classes)."""

    def __init__(self, pooling: nn.Module, head: Head) -> None:
        super().__init__()
        self.pooling = pooling
        self.head = head

    def forward(self, slices: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits (batch, classes).

        Args:
            slices: float (batch, slices, inputs), from the feet to the head, filled up at the end.
            lengths: int64 (batch,), how many slices each study has, at least 1; None: all of them.
        """
        logits: Tensor = self.head(self.pooling(slices, lengths))
        return logits

    def explainable(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        """What its file gives of whole studies: logits (batch, classes), and what its last layer gets."""
        vector = self.head.vector(self.pooling(slices, None))
        return self.head.output(vector), vector


def build_patient(spec: PatientSpec, vector: int, classes: int, lstm_units: int = 512) -> PatientClassifier:
    """A patient-level classifier on slices' vectors of this length."""
    inputs = vector * classes if spec.weighted else vector
    pooling: MaxPooling | LstmPooling | AttentionPooling | AttentionMaxPooling
    if spec.pooling == "lstm":
        pooling = LstmPooling(inputs, lstm_units)
    elif spec.pooling == "max":
        pooling = MaxPooling(inputs)
    elif spec.pooling == "attention-max":
        pooling = AttentionMaxPooling(inputs)
    else:
        pooling = AttentionPooling(inputs)
    return PatientClassifier(pooling, Head(pooling.outputs, spec.hidden, 0.0, classes))


class Ensemble(nn.Module):
    """The probabilities of several classifiers, side by side -> logits (section III.C.3)."""

    def __init__(self, classifiers: int, classes: int, hidden: int = 10) -> None:
        super().__init__()
        self.head = Head(classifiers * classes, hidden, 0.0, classes)

    def forward(self, scores: Tensor) -> Tensor:
        """(batch, classifiers x classes) -> logits (batch, classes)."""
        logits: Tensor = self.head(scores)
        return logits

    def explainable(self, scores: Tensor) -> tuple[Tensor]:
        """What its file gives: the logits alone."""
        return (self(scores),)
