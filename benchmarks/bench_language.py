"""How fast sentences are written, against bare `transformers.generate` on the same network in the same run.

Two tasks. `answer`: one message, as many tokens for each. `report`: the lines of facts of a whole report at
once, each to its end; both must write the same sentences, and how many are the same is told, so that tokens
per second are of the same tokens. Both take turns, so that whatever else the machine does meets both alike;
medians are compared, of processor time too, which other work disturbs less. The last line is one JSON
document; with `--append FILE` it is also added to FILE.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import circumstances, finish
from rich.console import Console
from rich.table import Table

from lib.model.language import AnswerLimits
from lib.model.report_writer import MOST_TOKENS, ReportWriter, load_report_writer
from lib.model.weights import default_weights_dir

MESSAGE = "Explain in a few sentences what a computed tomography of the abdomen shows."
LINES = """
liver; normal size; height 168 mm; volume 1512 ml; mean 104 HU
gallbladder; seen; volume 31 ml; mean 12 HU
spleen; enlarged; volume 512 ml; mean 118 HU
pancreas; probable; seen; volume 74 ml; mean 92 HU
right kidney; normal size; length 108 mm; volume 162 ml; mean 143 HU
left kidney; small; shorter than its partner; length 84 mm; volume 98 ml; mean 139 HU
right adrenal gland; possible; seen; volume 4.1 ml; mean 61 HU
stomach; partly in the scan; volume 241 ml
duodenum; seen
small bowel; partly in the scan
colon; partly in the scan
urinary bladder; seen; volume 203 ml; mean 9 HU
aorta; partly in the scan; mean 162 HU
inferior vena cava; partly in the scan; mean 131 HU
right lung; partly in the scan; volume 812 ml; mean -788 HU
left lung; partly in the scan; volume 699 ml; mean -801 HU
heart; partly in the scan; volume 204 ml; mean 141 HU
spinal cord; partly in the scan; mean 38 HU
sacrum; seen
vertebrae; partly in the scan
finding; lesion; probable; 32 x 24 mm; in the upper part of the liver; volume 9.5 ml; mean 40 HU
impression: lesions; lesion; 32 x 24 mm; in the upper part of the liver
impression: size; spleen; enlarged
impression: shorter than the other kidney; left kidney
"""


class Bare:
    """`transformers.generate` on the writer's network, greedy."""

    def __init__(self, writer: ReportWriter) -> None:
        self.language = writer.language
        self.options = {"do_sample": False, "pad_token_id": min(self.language.tokens.end_ids)}

    def answer(self, count: int) -> list[list[int]]:
        """So many tokens after the message."""
        ids = self.language.tokens.of_message(MESSAGE)
        written = self.language.network.generate(
            inputs_embeds=self.language.embed(torch.tensor([ids])),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            min_new_tokens=count,
            max_new_tokens=count,
            **self.options,
        )
        return written.tolist()

    def report(self, prompts: list[torch.Tensor]) -> list[list[int]]:
        """A sentence after each prompt, to its end."""
        longest = max(len(prompt) for prompt in prompts)
        read = torch.zeros(len(prompts), longest, self.language.hidden_size)
        seen = torch.zeros(len(prompts), longest, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            read[row, longest - len(prompt) :], seen[row, longest - len(prompt) :] = prompt, 1
        rows = self.language.network.generate(
            inputs_embeds=read, attention_mask=seen, max_new_tokens=MOST_TOKENS, **self.options
        ).tolist()
        ends = self.language.tokens.end_ids
        return [row[: next((at for at, one in enumerate(row) if one in ends), len(row))] for row in rows]


def seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    """How long it takes, and how much of the processor's time."""
    started, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - used


def compared(ours: Callable[[], object], bare: Callable[[], object], tokens: int, repeats: int) -> dict:
    """Tokens per second of both, in turns; both have run once before."""
    times = [(seconds_of(ours), seconds_of(bare)) for _ in range(repeats)]
    own, other = (
        [statistics.median(part) for part in zip(*runs, strict=True)] for runs in zip(*times, strict=True)
    )
    return {
        "tokens": tokens,
        "medvl": round(tokens / own[0], 1),
        "transformers": round(tokens / other[0], 1),
        "ratio": round(other[0] / own[0], 3),
        "ratio_of_processor_time": round(other[1] / own[1], 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--append", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64, help="of the answer")
    options = parser.parse_args()
    writer = load_report_writer(default_weights_dir())
    language, bare = writer.language, Bare(writer)
    lines = LINES.strip().splitlines()
    looks = [None] * len(lines)
    limits = AnswerLimits(most_tokens=options.tokens)
    with torch.inference_mode():
        prompts = writer.prompts(lines, looks)
        written = [answer.text for answer in writer.write_all(lines, looks)]
        rows = bare.report(prompts)
        same, tokens = [language.tokens.text_of(row) for row in rows], sum(len(row) for row in rows)
        answered = language.generate(MESSAGE, limits).tokens
        bare.answer(answered)
        tasks = {
            "answer": compared(
                lambda: language.generate(MESSAGE, limits),
                lambda: bare.answer(answered),
                answered,
                options.repeats,
            ),
            "report": compared(
                lambda: writer.write_all(lines, looks), lambda: bare.report(prompts), tokens, options.repeats
            ),
        }
    table = Table("task", "tokens", "MedVL, tokens/s", "transformers, tokens/s", "ratio", "by processor time")
    for name, found in tasks.items():
        table.add_row(name, *(str(value) for value in found.values()))
    Console(stderr=True).print(table)
    identical = sum(own == other for own, other in zip(written, same, strict=True))
    details = {"threads": torch.get_num_threads(), "repeats": options.repeats, "tasks": tasks}
    finish(
        circumstances("language") | details | {"same_sentences": f"{identical}/{len(lines)}"}, options.append
    )


if __name__ == "__main__":
    main()
