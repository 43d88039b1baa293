"""How fast models are, measured side by side."""
