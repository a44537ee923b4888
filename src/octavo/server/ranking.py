"""Which of the choices that were generated for a prompt are answered: best_of."""

from collections.abc import Sequence

from octavo.server.generation import Generation


def best(generations: Sequence[Generation], num_shown: int) -> list[Generation]:
    """Of each prompt the num_shown with the highest mean log-probability per token, the best first; all in
    their order if there are no more. Of equal ones the earlier is better."""
    groups: list[list[Generation]] = []
    for generation in generations:
        if not generation.shares_prompt:
            groups.append([])
        groups[-1].append(generation)
    return [generation for group in groups for generation in _best_of(group, num_shown)]


def _best_of(group: list[Generation], num_shown: int) -> list[Generation]:
    if len(group) <= num_shown:
        return group
    return sorted(group, key=lambda generation: -generation.mean_logprob)[:num_shown]
