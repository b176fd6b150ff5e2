"""A variant's trained networks as files that other programs can use: ONNX, safetensors and a model card."""
