"""The commands about models: list, show, check, calibrate, export."""
