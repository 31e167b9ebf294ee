"""The seam: everything that knows a framework."""
