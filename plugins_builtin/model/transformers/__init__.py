"""The backend on Hugging Face transformers: loading, forward pass, adapters, checkpoints, and the face that composes them."""
