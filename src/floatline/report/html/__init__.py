"""The diagnosis as one page that opens anywhere: records in, text out."""
