"""The old protocol and the new one, step by step: ../protocol.md, whose names tests/check_functions.py checks."""

import os

TEXT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "protocol.md")


def run(_context):
	with open(TEXT, encoding="utf-8") as f:
		return f.read()
