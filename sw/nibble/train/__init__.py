"""Training of small single-head detectors: recipe -> data -> trainer -> float ONNX.

recipe     the YAML, every key explicit
data       COCO folders, augmentation, assignment of boxes to output slots: numpy and OpenCV, no PyTorch
model      the network from the recipe (a factory: a quantized one takes its place without touching the trainer)
loss       what the trainer minimises
trainer    fits any module to any batches: seeded, resumable
export     the trained network as ONNX with its decoder facts

Only `model`, `loss`, `trainer`, `export` and `run` import PyTorch (extra `train`).
"""
