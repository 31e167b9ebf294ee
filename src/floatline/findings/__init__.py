"""Third stage: rules that read plain evidence and name the root cause; touches no tensor."""
