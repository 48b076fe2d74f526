"""One training loop; recipes; tuning; export."""
