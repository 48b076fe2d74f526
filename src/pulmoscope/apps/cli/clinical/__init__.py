"""What the command line takes and says of the patient's values."""
