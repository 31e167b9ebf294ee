"""One file per root cause; `floatline.findings.table` lists them."""
