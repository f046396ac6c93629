"""Programs on simulated cores: the C++ model (cppsim), its build, and the comparison with onnxruntime."""
