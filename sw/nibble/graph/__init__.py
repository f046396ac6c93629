"""The integer graph and its passes: from a quantized ONNX file to integer nodes, each proven equal to onnxruntime."""
