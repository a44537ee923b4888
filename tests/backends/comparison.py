"""Our logits beside an oracle's, over many texts: errors, divergence, and which steps are beyond doubt."""

import numpy as np
import torch

MAX_ERROR = 0.02  # of the oracle's logit range
MAX_KL = 0.01  # nats, the mean over all steps


class Comparison:
    """Of logits [num_steps, vocab_size] of the same tokens, added text by text.

    A step's margin is the oracle's distance from its first to its second token. An error of less than half of
    it cannot change the argmax: such a step is decisive.
    """

    def __init__(self) -> None:
        self._errors: list[np.ndarray] = []
        self._divergences: list[np.ndarray] = []
        self._margins: list[np.ndarray] = []
        self._agreed: list[np.ndarray] = []
        self._low, self._high = np.inf, -np.inf

    def add(self, ours: np.ndarray, theirs: np.ndarray) -> None:
        self._errors.append(np.abs(ours - theirs).max(axis=1))
        self._divergences.append(_kl(theirs, ours))
        top2 = np.partition(theirs, -2, axis=1)[:, -2:]
        self._margins.append(top2[:, 1] - top2[:, 0])
        self._agreed.append(ours.argmax(axis=1) == theirs.argmax(axis=1))
        self._low, self._high = min(self._low, float(theirs.min())), max(self._high, float(theirs.max()))

    @property
    def errors(self) -> np.ndarray:
        """The largest of each step."""
        return np.concatenate(self._errors)

    @property
    def relative_error(self) -> float:
        """The largest error as a share of the oracle's logit range."""
        return float(self.errors.max()) / (self._high - self._low)

    @property
    def divergence(self) -> float:
        """Mean divergence of our next-token distributions from the oracle's, in nats."""
        return float(np.concatenate(self._divergences).mean())

    @property
    def agreed(self) -> np.ndarray:
        """Of each step: whether our argmax is the oracle's."""
        return np.concatenate(self._agreed)

    def decisive(self, error: float | np.ndarray) -> np.ndarray:
        """Of each step: whether its margin exceeds twice this error."""
        return np.concatenate(self._margins) > 2 * error

    def check(
        self,
        error: float | np.ndarray,
        *,
        max_error: float = MAX_ERROR,
        min_decisive: float = 0.0,
        min_agreed: float = 0.0,
    ) -> None:
        """That errors are small, that steps that are decisive by this error have the oracle's argmax, and
        that there are as many of these, and as many with its argmax, as a share says."""
        decisive = self.decisive(error)
        print(f"{self}, decisive {decisive.mean():.1%} of {len(decisive)}")
        assert self.relative_error <= max_error
        assert self.divergence <= MAX_KL
        assert self.agreed[decisive].all()
        assert decisive.mean() >= min_decisive
        assert self.agreed.mean() >= min_agreed

    def __str__(self) -> str:
        return (
            f"largest error {self.errors.max():.3f} = {self.relative_error:.2%} of the range,"
            f" KL {self.divergence:.5f}, argmax agrees on {self.agreed.mean():.1%}"
        )


def _kl(theirs: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """Of each step."""
    p, q = (torch.log_softmax(torch.from_numpy(x).double(), dim=1) for x in (theirs, ours))
    return (p.exp() * (p - q)).sum(dim=1).numpy()
