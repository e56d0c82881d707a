"""Losses of the prompt stage, against values worked out by hand."""

import math

import pytest
import torch

from lib.train.losses import dice_loss, focal_loss, mask_iou, mean_where

SIDE = 4


def masks(*inside: int) -> torch.Tensor:
    """One mask for each number: so many pixels set, from the first on."""
    flat = torch.stack([(torch.arange(SIDE * SIDE) < count).float() for count in inside])
    return flat.reshape(len(inside), 1, SIDE, SIDE)


def test_a_certain_and_right_mask_costs_nothing():
    target = masks(5, 9)
    logits = torch.where(target > 0, 20.0, -20.0)
    assert focal_loss(logits, target).max() < 1e-6
    assert dice_loss(logits, target).max() < 1e-6
    assert mask_iou(logits, target).tolist() == [1, 1]


def test_focal_loss_of_an_undecided_mask_is_that_of_the_formula():
    undecided = torch.zeros(1, 1, SIDE, SIDE)
    expected = (0.25 * 4 + 0.75 * 12) / 16 * 0.5**2 * math.log(2)
    assert focal_loss(undecided, masks(4)).item() == pytest.approx(expected)


def test_a_confident_mistake_costs_more_than_an_undecided_one():
    target = masks(4)
    wrong = torch.where(target > 0, -5.0, 5.0)
    assert focal_loss(wrong, target) > 10 * focal_loss(torch.zeros_like(wrong), target)


def test_dice_loss_counts_each_mask_for_itself_whatever_its_size():
    target = masks(1, 16)
    half_right = torch.where(target > 0, 20.0, -20.0)
    half_right[0, 0, 0, 1] = 20.0
    small, large = dice_loss(half_right, target).tolist()
    assert small == pytest.approx(1 - (2 + 1) / (2 + 1 + 1), abs=1e-4)
    assert large < 1e-4


def test_two_empty_masks_agree():
    assert mask_iou(torch.full((1, 1, SIDE, SIDE), -1.0), masks(0)).item() == 1


def test_where_nothing_counts_the_mean_is_zero_and_still_has_a_gradient():
    values = torch.tensor([3.0, 4.0], requires_grad=True)
    mean = mean_where(values, torch.tensor([False, False]))
    mean.backward()
    assert mean.item() == 0
    assert values.grad is not None
    assert values.grad.tolist() == [0, 0]
