"""Which layer computes in which dtype: turning mixed precision on, plans of it, looking at it."""
