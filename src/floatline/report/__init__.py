"""The last stage: records in, text out; reads everything, measures and judges nothing."""
