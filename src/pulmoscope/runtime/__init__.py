"""Bundles and one `predict(batch)` over OpenVINO, ONNX Runtime or torch."""
