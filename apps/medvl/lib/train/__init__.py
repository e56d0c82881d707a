"""Learning and measuring: labelled cases, a simulated user, scores against references."""
