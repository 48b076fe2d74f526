"""From torch to ONNX files, checked."""
