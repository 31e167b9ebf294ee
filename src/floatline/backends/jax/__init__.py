"""JAX behind the seam. Nothing here imports Keras until `backend` is loaded."""
