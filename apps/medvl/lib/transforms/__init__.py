"""From a scan to what the network sees, and back: intensity windows and slice geometry."""
