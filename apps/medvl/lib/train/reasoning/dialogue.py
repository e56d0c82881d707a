"""An assistant phrases each step, critics send it back with what is wrong, a few times at most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.train.reasoning.compose import COMPOSER, compose_question, compose_steps, describe
from lib.train.reasoning.critic import Critic, FactsCritic, Kind, Problem
from lib.train.reasoning.facts import Facts
from lib.train.reasoning.knowledge import Knowledge
from lib.train.reasoning.models import TextModel
from lib.train.reasoning.steps import Step

MOST_ROUNDS = 10
MIXED = "mixed"
_TEMPERATURES = (0.3, 0.7)
"""Of the first attempt, and of those that follow it."""
_ASK = "Say this in other words. Keep every number, unit, side and name, and add nothing.\n\n{text}"
_ASK_AGAIN = (
    "{ask}\n\nAn earlier attempt was: {attempt}\nIt cannot be used, because {problems}. Put that right."
)
_MOST_NAMED = 4


@dataclass(frozen=True)
class Verdict:
    """What critics said of one attempt.

    Attributes:
        step: which step.
        attempt: 1 for the first.
        writer: whose it was.
        text: what was written; "" where it was accepted, as the row holds it.
        problems: by critic; all empty where it was accepted.
    """

    step: Step
    attempt: int
    writer: str
    text: str
    problems: dict[str, tuple[Problem, ...]]

    @property
    def is_accepted(self) -> bool:
        """Whether no critic found anything."""
        return not any(self.problems.values())

    def as_json(self) -> dict[str, Any]:
        """As a row holds it."""
        document: dict[str, Any] = {
            "step": str(self.step),
            "attempt": self.attempt,
            "writer": self.writer,
            "accepted": self.is_accepted,
            "critics": {
                name: [f"{problem.kind}: {problem.text}" for problem in found]
                for name, found in self.problems.items()
            },
        }
        return document | ({"text": self.text} if self.text else {})


@dataclass(frozen=True)
class Written:
    """A question with its chain of thought.

    Attributes:
        question: what is asked.
        steps: the four steps; those of the last attempt where one was rejected.
        writers: of each step.
        verdicts: in the order of the attempts.
        rejection: why it cannot be used; None where it can.
    """

    question: str
    steps: dict[Step, str]
    writers: dict[Step, str]
    verdicts: tuple[Verdict, ...]
    rejection: str | None

    @property
    def writer(self) -> str:
        """The one writer of all steps, or `mixed`."""
        names = set(self.writers.values())
        return names.pop() if len(names) == 1 else MIXED


@dataclass(frozen=True, eq=False)
class Dialogue:
    """Who writes and who judges.

    Attributes:
        knowledge: words.
        assistant: phrases the steps; None: they are put together from the facts.
        critics: all must accept a step.
        rounds: how often a step is sent back.
        falls_back: a step that the assistant cannot get right is put together from the facts; else the row is
            rejected.
    """

    knowledge: Knowledge
    assistant: TextModel | None
    critics: tuple[Critic, ...]
    rounds: int
    falls_back: bool

    def write(self, facts: Facts, seed: int) -> Written:
        """The same for the same facts and seed.

        Raises:
            MedVLError: a model cannot answer now.
        """
        rng = np.random.default_rng(seed)
        question = compose_question(facts, self.knowledge, rng)
        composed = compose_steps(facts, self.knowledge, rng)
        steps, writers, verdicts = dict(composed), dict.fromkeys(Step, COMPOSER), list[Verdict]()
        rejection = None
        for step in Step:
            attempts = self._attempts(step, composed[step], facts, seed)
            verdicts += attempts
            last = attempts[-1]
            writers[step] = last.writer
            steps[step] = last.text
            if not last.is_accepted:
                rejection = rejection or f"{step}: {_told(last)}"
        kept = tuple(_without_text(verdict) if verdict.is_accepted else verdict for verdict in verdicts)
        return Written(question, steps, writers, kept, rejection)

    def _attempts(self, step: Step, composed: str, facts: Facts, seed: int) -> list[Verdict]:
        """Those of the assistant until one is accepted, then that of the composer."""
        attempts: list[Verdict] = []
        for number in range(self.rounds + 1 if self.assistant else 0):
            text = self._asked(composed, attempts, seed + number)
            attempts.append(self._judged(step, number + 1, self._assistant_name, text, facts, seed))
            if attempts[-1].is_accepted:
                return attempts
        if not attempts or self.falls_back:
            attempts.append(self._judged(step, len(attempts) + 1, COMPOSER, composed, facts, seed))
        return attempts

    @property
    def _assistant_name(self) -> str:
        return "" if self.assistant is None else self.assistant.name

    def _asked(self, composed: str, attempts: Sequence[Verdict], seed: int) -> str:
        if self.assistant is None:
            return composed
        message = _ASK.format(text=composed)
        if attempts:
            last = attempts[-1]
            message = _ASK_AGAIN.format(ask=message, attempt=last.text, problems=_told(last))
        return _tidy(self.assistant.write(message, _TEMPERATURES[min(1, len(attempts))], seed))

    def _judged(self, step: Step, number: int, writer: str, text: str, facts: Facts, seed: int) -> Verdict:
        found: dict[str, tuple[Problem, ...]] = {}
        for critic in self.critics:
            # opinions are about what the assistant wrote, and not asked for where facts speak against it
            is_opinion = not isinstance(critic, FactsCritic)
            if is_opinion and (writer == COMPOSER or any(found.values())):
                continue
            found[critic.name] = critic.problems_of(step, text, facts, seed)
        return Verdict(step, number, writer, text, found)


@dataclass(frozen=True, eq=False)
class ModelCritic:
    """A language model's opinion of a step.

    Attributes:
        model: is asked.
        knowledge: words.
    """

    model: TextModel
    knowledge: Knowledge

    @property
    def name(self) -> str:
        """The model's."""
        return self.model.name

    def problems_of(self, step: Step, text: str, facts: Facts, seed: int) -> tuple[Problem, ...]:  # noqa: ARG002
        """What it objects to; an answer that is neither yes nor no is no objection."""
        said = "\n".join(f"- {what}: {value}" for what, value in describe(facts, self.knowledge).items())
        message = (
            f"These facts are true:\n{said}\n\nSomebody wrote: {text}\n\nDoes this contradict one of the "
            "facts? Answer with 'no', or with 'yes' and what is wrong."
        )
        answer = " ".join(self.model.write(message, 0.0, seed).split())
        if not answer.lower().startswith("yes"):
            return ()
        return (Problem(Kind.OPINION, answer[3:].strip(" ,.:;-")[:200] or "it contradicts the facts"),)


def _told(verdict: Verdict) -> str:
    found = [problem.text for problems in verdict.problems.values() for problem in problems]
    return "; ".join(found[:_MOST_NAMED])


def _without_text(verdict: Verdict) -> Verdict:
    return Verdict(verdict.step, verdict.attempt, verdict.writer, "", verdict.problems)


def _tidy(text: str) -> str:
    """One line, without quotation marks around it."""
    plain = " ".join(text.split())
    return plain[1:-1].strip() if len(plain) > 2 and plain[0] == plain[-1] and plain[0] in "\"'" else plain
