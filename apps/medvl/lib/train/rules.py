"""The rules that label scans for training are those that serve: see `lib.predict.rules`."""

from lib.predict.rules import RuleLabels, airway_mask, body_mask, bone_mask, label_by_rules, lung_masks

__all__ = ["RuleLabels", "airway_mask", "body_mask", "bone_mask", "label_by_rules", "lung_masks"]
