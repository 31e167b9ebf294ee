"""JAX behind the seam."""
