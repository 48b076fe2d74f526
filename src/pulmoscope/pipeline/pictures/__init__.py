"""What a diagnosis draws and writes beside its JSON."""
