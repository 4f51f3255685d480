"""API keys: their secrets, who they stand for, and what guessing costs."""
