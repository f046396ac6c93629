"""Training of small single-head detectors: recipe -> data -> trainer -> float ONNX, or integer ONNX and QONNX.

recipe     the YAML, every key explicit
data       COCO folders, augmentation, assignment of boxes to output slots: numpy and OpenCV, no PyTorch
model      the network from the recipe (a factory: a quantized one takes its place without touching the trainer)
loss       what the trainer minimises
trainer    fits any module to any batches: seeded, resumable
export     the trained network as ONNX with its decoder facts
start      weights from an earlier training

quantized  the network with quantized layers: the factory takes it where the recipe gives bits
integers   a trained quantized network as integers
golden     these as ONNX that onnxruntime runs
qonnx      these as QONNX

Only `recipe`, `data` and what they need work without PyTorch, only `quantized` needs Brevitas (extra `train`).
"""
