"""What the manifests of each kind of model say beyond what all say: one module per task."""
