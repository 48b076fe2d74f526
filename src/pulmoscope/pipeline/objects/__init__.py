"""The objects of a diagnosis that other systems read: which there are, and writing them."""
