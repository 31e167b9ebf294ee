"""What a model's layers and their code are set up with, read without running them."""
