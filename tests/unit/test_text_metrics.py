"""Word-by-word measures against values worked out by hand, and what they do not notice."""

import math

import pytest

from lib.train.text_metrics import bleu, cider, meteor, rouge_l, words_of

RIGHT = "The spleen is enlarged, 512.4 ml."


def test_the_same_text_scores_highest_and_another_text_nothing():
    assert bleu(RIGHT, RIGHT) == pytest.approx(1)
    assert rouge_l(RIGHT, RIGHT) == 1
    assert meteor(RIGHT, RIGHT) == pytest.approx(1 - 0.5 / 6**3)
    assert (bleu("kidney", RIGHT), rouge_l("kidney", RIGHT), meteor("kidney", RIGHT)) == (0, 0, 0)
    assert (bleu("", RIGHT), rouge_l("", RIGHT), meteor("", RIGHT)) == (0, 0, 0)


def test_decimals_belong_to_the_number():
    assert words_of(RIGHT) == ["the", "spleen", "is", "enlarged", "512.4", "ml"]


def test_bleu_is_the_mean_of_precisions_with_a_penalty_for_being_short():
    # words 3 of 3, pairs 1 of 2; two words short
    assert bleu("the spleen enlarged", "the spleen is now enlarged", 2) == pytest.approx(
        math.exp(1 - 5 / 3) * math.sqrt(1 * 0.5)
    )


def test_rouge_l_follows_the_order_of_words():
    assert rouge_l("a b c d", "a c b d") == pytest.approx(2 * 3 / 8)


def test_meteor_weighs_recall_and_order():
    # 2 of 2 words right, 2 of 4 found, in one piece
    mean = 1 * 0.5 / (0.9 * 1 + 0.1 * 0.5)
    assert meteor("b c", "a b c d") == pytest.approx(mean * (1 - 0.5 * 0.5**3))


def test_cider_counts_what_is_rare():
    references = ["the spleen is enlarged today", "the liver is normal today", "the liver is small today"]
    rare, common = cider(
        ["the spleen is enlarged today", "the liver is enlarged today"], [references[0], references[0]]
    )
    assert rare == pytest.approx(0)  # the only reference: nothing is rare
    assert common == 0
    scores = cider([references[0], references[2], references[2]], references)
    assert scores[0] == pytest.approx(10)
    assert scores[1] < 7
    assert scores[2] == pytest.approx(10)


def test_a_flipped_side_hardly_changes_word_scores():
    """Why findings, numbers and sides are scored besides."""
    report = "The liver is of normal size. The spleen is seen. The left kidney is enlarged."
    assert bleu(report.replace("left", "right"), report) > 0.7
    assert rouge_l(report.replace("left", "right"), report) > 0.9
