"""The published layouts → one table of samples; leak checks; phantoms."""
