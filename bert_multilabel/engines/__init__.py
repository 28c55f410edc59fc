"""What computes the logits of batches in prediction: torch, torch.compile, ONNX Runtime or OpenVINO."""
