"""x."""
def report(a, b): return ""
