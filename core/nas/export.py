"""A derived network as a standalone ONNX file, and the proof that it computes the same."""

from __future__ import annotations
