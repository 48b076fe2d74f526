"""What results are like, and what one of our objects says."""
