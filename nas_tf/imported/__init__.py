"""Networks from elsewhere: published ProxylessNAS configurations and PyTorch checkpoints."""
