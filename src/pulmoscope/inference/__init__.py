"""What a model says of an image, a CT or a table of them: the one path from pixels to a decision."""
