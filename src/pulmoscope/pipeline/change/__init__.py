"""A scan beside an earlier one of the same patient: how the earlier one is read, and what is drawn of both."""
